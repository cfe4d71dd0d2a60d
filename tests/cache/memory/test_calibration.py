"""What a database remembers of a calibration, and when it still covers what is in force."""

from dataclasses import replace

from cache.memory.calibration import Calibration, calibration_of, is_calibrated, record_calibration
from tests.cache.prints import OURS, THEIRS

FOUND = Calibration(
    pipeline=OURS,
    policy="00" * 32,
    calibrated=1_800_000_000,
    pictures=250,
    rules={"gore-found": "gore"},
    thresholds={"strict": {"gore": 3_000}, "balanced": {"gore": 5_000}},
    flagged={"strict": {"gore-found": 2}, "balanced": {"gore-found": 0}},
)


def test_a_calibration_is_kept_for_its_pipeline_alone(store):
    assert not store.read_now(is_calibrated, OURS)
    store.write_now(record_calibration, FOUND)
    assert store.read_now(is_calibrated, OURS)
    assert not store.read_now(is_calibrated, THEIRS)
    assert store.read_now(calibration_of, OURS) == FOUND
    assert store.read_now(calibration_of, THEIRS) is None


def test_the_last_calibration_takes_the_place_of_the_one_before(store):
    store.write_now(record_calibration, FOUND)
    later = replace(FOUND, calibrated=1_900_000_000, pictures=3_000)
    store.write_now(record_calibration, later)
    assert store.read_now(calibration_of, OURS) == later


def test_it_covers_the_rules_and_thresholds_that_were_tried_and_no_others():
    assert FOUND.covers({"gore-found": "gore"}, {"gore": 5_000})
    assert FOUND.covers({"gore-found": "gore"}, {"gore": 3_000})
    assert not FOUND.covers({"gore-found": "gore"}, {"gore": 4_999})
    assert not FOUND.covers({"gore-found": "not gore"}, {"gore": 5_000})
    assert not FOUND.covers({"gore-found": "gore", "more": "gore"}, {"gore": 5_000})
