import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.retry_after import retry_after_seconds

NOW = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize("text", ["0", "120", " 120 ", "999999999"])
def test_whole_seconds_are_taken(text):
    assert retry_after_seconds(text, NOW) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_dates_of_all_three_forms_are_taken(text):
    """RFC 9110, section 5.6.7: a recipient takes them all."""
    assert retry_after_seconds(text, NOW - 90) == 90
    assert retry_after_seconds(text, NOW) == 0
    assert retry_after_seconds(text, NOW + 90) == 0


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "-1",
        "1.5",
        "1e3",
        "1000000000",
        "١٢",
        "soon",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Fri, 31 Dec 99999 23:59:59 GMT",
    ],
)
def test_what_is_neither_asks_nothing(text):
    assert retry_after_seconds(text, NOW) is None


@given(st.text(max_size=40))
def test_no_text_raises_anything(text):
    found = retry_after_seconds(text, NOW)
    assert found is None or found >= 0
