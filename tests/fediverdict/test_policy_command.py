"""`fediverdict policy` and `fediverdict testcard`, run as an admin does."""

import json
import time

import pytest
from PIL import Image

from cache.memory.calibration import calibration_of, is_calibrated
from cache.memory.record import pipeline_row, record_image, record_verdict
from cache.rules import parse
from cache.storage.database import Store
from cache.storage.tables import findings, images, verdicts
from cache.testcard import CARD
from fediverdict.calibrating import Calibrating, is_report_only
from fediverdict.cli import calibrate as calibrate_command
from fediverdict.config import Config, load_config
from fediverdict.judgement import Judgements
from fediverdict.policy_check import STEPS_MAX, can_be, check
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.decoding.fingerprint import sha256_of
from scanner.limits import Limits
from scanner.policy import load_policy
from scanner.testcard import card_bytes
from scanner.testpatterns import draw_noise
from tests.cache.memory.test_record_and_lookup import own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint
from tests.fakes.scanner import RedClassifier
from tests.fediverdict.test_judge import GREEN, RED, png

NOW = int(time.time())

POLICY = """
name = "mine"
version = 3
template = "{}"
controls = ["a cat"]
[labels.red]
prompts = ["red"]
threshold = 4000
[labels.blue]
prompts = ["blue", "azure"]
thresholds = { strict = 1, balanced = 2, lenient = 3 }
[rules]
"""


def written(tmp_path, rules):
    path = tmp_path / "mine.toml"
    path.write_text(POLICY + rules)
    return path


# --- policy check -----------------------------------------------------------------------------
def test_check_prints_labels_thresholds_rules_and_digest(run, tmp_path):
    path = written(tmp_path, 'both = "red and blue"')
    ended = run("policy", "check", path)
    assert (ended.code, ended.err) == (0, "")
    assert "policy mine, version 3" in ended.out
    assert "red    1        1818    4000      6667" in ended.out
    assert "both  red and blue" in ended.out
    assert "report-only until" in ended.out
    found = json.loads(run("policy", "check", path, "--json").out)
    assert found["digest"] == load_policy(path).digest()
    assert found["labels"]["blue"] == {"prompts": 2, "strict": 1, "balanced": 2, "lenient": 3}
    assert found["rules"] == {"both": "red and blue"}
    assert found["report_only_until_calibrated"] is True
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('x = "red and"', "the rule x cannot be read"),
        ('x = "green"', "names green, which the policy does not score"),
        ("", "rules"),
        ("x = 1", "rules.x"),
    ],
)
def test_check_ends_with_2_for_a_policy_that_cannot_be_used(run, tmp_path, rules, words):
    ended = run("policy", "check", written(tmp_path, rules), "--json")
    assert ended.code == 2
    assert words in ended.err
    assert ended.out == ""


def test_check_knows_the_shipped_policies_and_refuses_what_is_none(run):
    assert run("policy", "check", "test").code == 0
    assert run("policy", "check", "default").code == 0
    assert "report-only" not in run("policy", "check", "test").out
    ended = run("policy", "check", "nowhere")
    assert (ended.code, "default, test" in ended.err) == (2, True)


def test_check_without_a_name_takes_the_configured_policy_and_the_rules_of_the_config(run, config):
    config.write_text(config.read_text() + '\n[rules]\nany = "shape or test-pattern"\n')
    found = json.loads(run("policy", "check", "--json", config=config).out)
    assert found["rules"]["any"] == "shape or test-pattern"
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("red and not red", "can never be true"),
        ("(red or blue) and not red and not blue", "can never be true"),
        ("red or not red", "is always true"),
        ("not red or blue", "is true where no label holds"),
        ("red and not blue", "asks for not blue: strict then finds less"),
        ("red", "no rule uses the label blue"),
    ],
)
def test_what_can_hardly_be_meant_is_a_warning(tmp_path, rule, words):
    warnings = check(load_policy(written(tmp_path, f'x = "{rule}"'))).warnings
    assert any(words in warning for warning in warnings)


def test_a_double_negation_is_none(tmp_path):
    assert not check(load_policy(written(tmp_path, 'x = "not (not red) and blue"'))).warnings


def test_a_rule_that_takes_too_long_is_left_open():
    """Twenty pairs that exclude each other: no branch ends early."""
    hard = parse(" and ".join(f"(a{n} or b{n})" for n in range(40)) + " and not a0 and not b0")
    assert can_be(hard, True) in (False, None)
    wide = parse(" or ".join(f"(a{n} and b{n} and not a{n})" for n in range(30)))
    started = time.monotonic()
    assert can_be(wide, True) is None
    assert time.monotonic() - started < 120
    assert STEPS_MAX == 10_000


# --- policy calibrate -------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path):
    """Green pictures, one of them twice, a red one, the test card, and what is no picture."""
    place = tmp_path / "harmless"
    place.mkdir()
    for number in range(4):
        (place / f"green{number}.png").write_bytes(png(GREEN, seed=number))
    (place / "green0 again.png").write_bytes(png(GREEN, seed=0))
    (place / "red.png").write_bytes(png(RED, seed=9))
    (place / "card.png").write_bytes(card_bytes())
    (place / "notes.txt").write_text("no picture")
    (place / "link.png").symlink_to(place / "red.png")
    return place


@pytest.fixture
def red(monkeypatch):
    """The fake classifier in the place of the configured one."""
    monkeypatch.setattr(calibrate_command, "load_classifier", lambda *_: RedClassifier())
    return RedClassifier()


def opened(config):
    return Store.open(load_config(config).database.url)


def enough(config, pictures):
    config.write_text(
        config.read_text().replace("[scanner]\n", f"[scanner]\ncalibration_pictures = {pictures}\n")
    )


def test_calibrate_reports_who_would_be_flagged_and_how_sure_the_rate_is(run, config, folder, red):
    ended = run("policy", "calibrate", folder, "--json", config=config)
    found = json.loads(ended.out)
    assert ended.code == 1
    assert found["pictures"] == 5
    assert found["left_out"] == {"twice": 1, "undecodable": 1, "test-card": 1, "unreadable": 1}
    rule = found["rules"]["balanced"]["test-pattern-found"]
    assert (rule["flagged"], rule["rate"]) == (1, 0.2)
    assert rule["low"] == pytest.approx(0.0362, abs=1e-4)
    assert rule["high"] == pytest.approx(0.6245, abs=1e-4)
    named = [{"key": "red.png", "rules": ["test-pattern-found"]}]
    assert found["flagged"] == dict.fromkeys(("strict", "balanced", "lenient"), named)
    label = found["labels"]["test-pattern"]
    assert (label["largest"], label["smallest_threshold"]) == (9_500, 9_501)
    assert label["histogram"] == [4, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found["smallest_rate"] == pytest.approx(0.6)
    assert found["suggested"]["thresholds"]["test-pattern"] > 9_500
    assert "link.png" in ended.err


def test_calibrate_says_what_so_few_pictures_cannot_show(run, config, folder, red):
    ended = run("policy", "calibrate", folder, config=config)
    assert "5 pictures cannot show a rate under 60 % (3/n)" in ended.out
    assert "0.1 % takes 3000 pictures" in ended.out
    assert "red.png: test-pattern-found" in ended.out
    assert "not recorded: it takes 100 different pictures" in ended.out


@pytest.mark.parametrize(("least", "recorded"), [(5, True), (6, False)])
def test_a_run_counts_from_so_many_pictures_on(run, config, folder, red, least, recorded):
    enough(config, least)
    assert run("policy", "calibrate", folder, config=config).code == 1
    store = opened(config)
    assert store.read_now(is_calibrated, red.pipeline_id) is recorded
    if recorded:
        found = store.read_now(calibration_of, red.pipeline_id)
        assert (found.pictures, found.policy) == (5, load_policy("test").digest())
        assert found.flagged["balanced"] == {"test-pattern-found": 1}
    store.close()


@pytest.mark.parametrize("rate", ["0.000001", "0.5"])
def test_a_target_rate_at_its_limits_is_taken(run, config, folder, red, rate):
    ended = run("policy", "calibrate", folder, "--target-rate", rate, "--json", config=config)
    found = json.loads(ended.out)
    assert found["target_rate"] == float(rate)
    assert found["labels"]["test-pattern"]["smallest_threshold"] == (51 if rate == "0.5" else 9_501)


def test_calibrate_stores_no_picture_no_verdict_and_no_finding(run, config, folder, red):
    enough(config, 1)
    run("policy", "calibrate", folder, config=config)
    store = opened(config)
    for table in (images, verdicts, findings):
        assert store.read_now(lambda c, t=table: c.execute(t.select()).all()) == []
    store.close()


def test_a_run_that_is_stopped_reports_what_was_done_and_does_not_count(
    run, config, folder, red, monkeypatch
):
    enough(config, 1)
    monkeypatch.setattr(Calibrating, "_score", _stopped(Calibrating._score, after=3))
    config.write_text(config.read_text().replace("[scanner]\n", "[scanner]\nbatch = 1\n"))
    ended = run("policy", "calibrate", folder, "--json", config=config)
    found = json.loads(ended.out)
    assert (ended.code, found["pictures"], found["finished"]) == (3, 3, False)
    assert "stopped" in ended.err
    store = opened(config)
    assert not store.read_now(is_calibrated, red.pipeline_id)
    store.close()


def _stopped(score, after):
    calls = iter(range(after))

    def act(self, waiting):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return score(self, waiting)

    return act


def test_an_empty_folder_is_reported_and_does_not_count(run, config, tmp_path, red):
    enough(config, 1)
    (tmp_path / "empty").mkdir()
    ended = run("policy", "calibrate", tmp_path / "empty", "--json", config=config)
    assert ended.code == 0
    found = json.loads(ended.out)
    assert (found["pictures"], found["recorded"], found["labels"]) == (0, False, {})
    assert found["suggested"] == {"odds": None, "thresholds": None}
    assert "0 harmless" in run("policy", "calibrate", tmp_path / "empty", config=config).out


@pytest.mark.parametrize(
    "arguments",
    [["nowhere"], *([".", "--target-rate", rate] for rate in ("9e-7", "0.51", "nan", "inf", "x"))],
)
def test_a_wrong_call_is_a_usage_error(run, config, red, arguments):
    assert run("policy", "calibrate", *arguments, config=config).code == 2


def test_the_bundled_model_calibrates_generated_pictures(run, config, tmp_path):
    pytest.importorskip("torch")
    for seed in range(3):
        draw_noise(seed, (320, 240)).save(tmp_path / f"{seed}.png")
    enough(config, 3)
    ended = run("policy", "calibrate", tmp_path, "--json", config=config)
    found = json.loads(ended.out)
    assert (ended.code, found["pictures"], found["recorded"]) == (0, 3, True)
    assert found["pipeline"] == pipeline_id(bundled_pipeline(load_policy("test")))


def test_thresholds_listed_in_the_config_are_tried_as_well(folder):
    config = Config.model_validate(
        {
            "pipelines": {
                RedClassifier().pipeline_id: {"thresholds": {"test-pattern": 20, "other": 1}}
            }
        }
    )
    tried = Calibrating(Judgements(config, load_policy("test")), RedClassifier(), Limits())
    assert list(tried.run(folder, 2))
    assert tried.flagged_by_rule("listed") == {"test-pattern-found": 5}
    assert tried.flagged_by_rule("lenient") == {"test-pattern-found": 1}


# --- report-only ------------------------------------------------------------------------------
def test_an_instance_is_report_only_until_its_rules_and_thresholds_were_tried(
    run, config, folder, red
):
    enough(config, 1)
    text = config.read_text()
    config.write_text(text.replace("[scanner]\n", '[scanner]\nmodel = "ViT-B-32/openai"\n'))

    def report_only():
        settings = load_config(config)
        judgements = Judgements(settings, load_policy("test"))
        store = opened(config)
        try:
            if not adopted:
                adopted.append(store.write_now(judgements.adopt, red.pipeline_id, NOW))
            return store.read_now(is_report_only, judgements)
        finally:
            store.close()

    adopted = []
    assert report_only()
    run("policy", "calibrate", folder, config=config)
    assert not report_only()
    config.write_text(
        config.read_text().replace("[scanner]\n", '[scanner]\nstrictness = "strict"\n')
    )
    assert not report_only()
    config.write_text(config.read_text() + '\n[rules]\nany = "shape"\n')
    assert report_only()


def test_the_bundled_model_by_the_test_policy_needs_no_calibration(sqlite_store):
    policy = load_policy("test")
    pipeline = pipeline_id(bundled_pipeline(policy))

    def report_only(**tables):
        judgements = Judgements(Config.model_validate(tables), policy)
        sqlite_store.write_now(judgements.adopt, pipeline, NOW)
        return sqlite_store.read_now(is_report_only, judgements)

    assert not report_only()
    assert not report_only(scanner={"strictness": "strict"})
    assert report_only(rules={"all": "not shape"})
    assert report_only(pipelines={pipeline: {"thresholds": {"test-pattern": 0, "shape": 0}}})


def test_an_instance_that_never_scanned_is_report_only(sqlite_store):
    found = Judgements(Config(), load_policy("test"))
    assert sqlite_store.read_now(is_report_only, found)


# --- policy shadow ----------------------------------------------------------------------------
@pytest.fixture
def shadowed(config):
    """An instance whose pipeline in shadow flags what the one that decides does not."""
    text = '\n[scanner.shadow]\nenabled = true\npolicy = "test"\nmodel = "ViT-L-14/openai"\n'
    config.write_text(config.read_text() + text)
    judgements = Judgements(load_config(config), load_policy("test"))

    def scanned(connection):
        judgements.adopt(connection, OURS, NOW)
        judgement = judgements.adopt_shadow(connection, THEIRS, NOW)
        assert judgement is not None
        pipeline_row(connection, DESCRIPTION)
        pipeline_row(connection, OTHERS)
        for name, ours, shadow in (("one", 10, 9_000), ("two", 10, 10), ("\x1b", 9_000, 10)):
            picture = fingerprint(name)
            record_image(connection, picture, now=NOW)
            for pipeline, score in ((OURS, ours), (THEIRS, shadow)):
                scores = {"test-pattern": score, "shape": 0}
                verdict = own_verdict(scores, picture, pipeline=pipeline, issued=NOW)
                record_verdict(connection, verdict, judgement, now=NOW)

    store = opened(config)
    store.write_now(scanned)
    store.close()
    return config


def test_shadow_shows_where_the_two_disagree(run, shadowed):
    ended = run("policy", "shadow", "--json", config=shadowed)
    found = json.loads(ended.out)
    assert (ended.code, found["pictures"], found["disagreements"]) == (1, 3, 2)
    counts = {"both": 0, "only_ours": 1, "only_shadow": 1, "neither": 1, "open": 0}
    assert found["rules"] == {"test-pattern-found": counts}
    assert {one["sha256"] for one in found["shown"]} == {
        fingerprint(name).sha256.hex() for name in ("one", "\x1b")
    }
    text = run("policy", "shadow", "--show", 1, config=shadowed).out
    assert "3 pictures scored by both, 2 in disagreement" in text
    assert "and 1 more" in text


def test_shadow_says_what_is_missing_where_nothing_was_scored(run, config):
    ended = run("policy", "shadow", config=config)
    assert ended.code == 3
    assert "nothing was scored by the pipeline that decides yet" in ended.err


def test_shadow_is_still_shown_when_the_trial_has_ended(run, shadowed):
    shadowed.write_text(shadowed.read_text().replace("enabled = true", "enabled = false"))
    assert run("policy", "shadow", config=shadowed).code == 1


# --- testcard ---------------------------------------------------------------------------------
def test_the_test_card_is_written_and_flagged(run, config, tmp_path):
    out = tmp_path / "card.png"
    assert run("testcard", out).code == 0
    assert sha256_of(out.read_bytes()) == CARD.sha256
    assert run("testcard", out).code == 0  # the same file once more
    ended = run("lookup", out, "--json", config=config)
    assert (ended.code, json.loads(ended.out)["decision"]) == (1, "flagged")
    Image.open(out).convert("RGB").resize((400, 300)).save(tmp_path / "small.jpg", quality=70)
    ended = run("lookup", tmp_path / "small.jpg", "--json", config=config)
    assert json.loads(ended.out)["decision"] == "review"


def test_the_test_card_overwrites_nothing_else(run, tmp_path):
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert run("testcard", out).code == 2
    assert out.read_bytes() == b"mine"
    assert run("testcard", tmp_path / "nowhere" / "card.png").code == 3
