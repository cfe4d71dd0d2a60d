import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadRequest
from federation.wire.times import from_http_date, from_rfc3339, to_http_date, to_rfc3339

seconds = st.integers(0, 253_402_300_799)


@given(seconds)
def test_times_survive_both_forms(time):
    assert from_rfc3339(to_rfc3339(time)) == time
    assert from_http_date(to_http_date(time)) == time


def test_the_forms_are_those_of_the_standards():
    assert to_rfc3339(1_677_281_798) == "2023-02-24T23:36:38Z"
    assert to_http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110, 5.6.7


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        "",
        "2023-02-24",
        "2023-02-24T23:36:38",
        "2023-02-24T23:36:38+00:00",
        "2023-02-24T23:36:38.000Z",
        "2023-2-24T23:36:38Z",
        "2023-02-30T23:36:38Z",
        "\uff12023-02-24T23:36:38Z",
    ],
)
def test_other_spellings_of_a_time_are_refused(text):
    with pytest.raises(BadRequest):
        from_rfc3339(text)


@pytest.mark.parametrize(
    "text", [None, "", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "784111777"]
)
def test_obsolete_http_dates_are_refused(text):
    with pytest.raises(BadRequest):
        from_http_date(text)


@given(st.text(max_size=30))
def test_no_text_raises_anything_else(text):
    for read in (from_rfc3339, from_http_date):
        with pytest.raises(BadRequest):
            read(text)
