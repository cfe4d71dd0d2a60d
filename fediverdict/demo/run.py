"""The demo's story: alpha scans, beta follows alpha, beta is asked. Then the truth is counted."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fediverdict.demo.instance import Instance, InstanceFailed
from fediverdict.demo.pictures import DemoPicture, Question, questions, shown_to_alpha

CLEAN = "clean"
SETTLE_SECONDS = 40.0

COMMON = """
[federation]
allow_private_addresses = true
poll_seconds = 0.3
[feed]
seal_seconds = 2
seal_flagged_seconds = 2
[decide]
flag_quorum = 1
[trust]
audit = "off"
"""
ALPHA = """
[scanner]
preload = false
[sources.pictures]
path = "pictures"
share = "all"
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A question and beta's answer."""

    question: Question
    answer: dict[str, Any]

    @property
    def wrong_clean(self) -> bool:
        """Whether a test pattern was let through."""
        return self.question.picture.is_pattern and self.answer["decision"] == CLEAN


class Demo:
    """Two instances in a folder, and what happened between them."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.shown: list[DemoPicture] = []
        self.in_clean_feed: set[str] = set()
        self.alpha_scanned = 0
        self.asked: list[Asked] = []
        self.seconds = 0.0
        self._instances: list[Instance] = []

    def run(self) -> None:
        """Play the story from the beginning; raises InstanceFailed."""
        started = time.monotonic()
        self.shown = shown_to_alpha()
        alpha, beta = self._create("alpha", COMMON + ALPHA), self._create("beta", COMMON)
        self._show(alpha)
        for instance in (alpha, beta):
            instance.start()
            self.say(f"{instance.name} serves on {instance.base_url}")
        self._introduce(alpha, beta)
        self._scan(alpha)
        self._wait_for_feeds(beta)
        self._ask(beta)
        self.seconds = time.monotonic() - started

    def stop(self) -> None:
        """End both processes."""
        for instance in self._instances:
            instance.stop()

    @property
    def addresses(self) -> list[str]:
        """Where the instances answer, and with which token."""
        return [f"{one.name} {one.base_url} token {one.token}" for one in self._instances]

    def _create(self, name: str, settings: str) -> Instance:
        instance = Instance.create(name, self.folder / name, settings)
        self._instances.append(instance)
        return instance

    def _show(self, alpha: Instance) -> None:
        folder = alpha.folder / "pictures"
        folder.mkdir()
        for picture in self.shown:
            (folder / picture.name).write_bytes(picture.data)
        patterns = sum(picture.is_pattern for picture in self.shown)
        photos = sum(picture.name.startswith("photo-") for picture in self.shown)
        shapes = len(self.shown) - patterns - photos
        self.say(f"alpha has {photos} photos, {shapes} drawn shapes, {patterns} test patterns")

    def _introduce(self, alpha: Instance, beta: Instance) -> None:
        for feed in ("clean", "flagged"):
            beta.run("peers", "follow", alpha.handle(feed), "--yes")
        _until(lambda: len(_pending(alpha)) == 2, "alpha did not receive beta's follows", alpha)
        alpha.run("followers", "approve", beta.base_url)
        beta.run("peers", "trust", alpha.base_url, "--clean", "1", "--flag", "1")
        self.say("beta follows alpha's two feeds, alpha approved, beta trusts alpha with 1.0")
        self.say("set here: flag_quorum = 1, trust.audit = off, feed.seal_seconds = 2")

    def _scan(self, alpha: Instance) -> None:
        lines = [json.loads(line) for line in alpha.run("scan", "pictures", "--json").splitlines()]
        seen = [line for line in lines if "key" in line]
        self.alpha_scanned = sum(line["scanned"] for line in seen)
        self.in_clean_feed = {line["key"] for line in seen if line["feed"] == "clean"}
        seconds = lines[-1]["seconds"]
        self.say(f"alpha scanned {self.alpha_scanned} pictures in {seconds:.1f} s")

    def _wait_for_feeds(self, beta: Instance) -> None:
        wanted = len(self.shown)
        started = time.monotonic()
        _until(lambda: _verdicts_held(beta) >= wanted, "alpha's feeds did not reach beta", beta)
        seconds = time.monotonic() - started
        self.say(f"{_verdicts_held(beta)} attestations reached beta {seconds:.1f} s after the scan")

    def _ask(self, beta: Instance) -> None:
        _until(lambda: _is_ready(beta), "beta did not load its model", beta)
        for question in questions(self.shown):
            self.asked.append(Asked(question, beta.scan(question.picture.data)))


def _pending(alpha: Instance) -> list[dict[str, Any]]:
    followers: list[dict[str, Any]] = alpha.json("followers", "list", "--json")
    return [follower for follower in followers if follower["state"] == "pending"]


def _verdicts_held(beta: Instance) -> int:
    return sum(peer["verdicts"] for peer in beta.json("peers", "list", "--json"))


def _is_ready(instance: Instance) -> bool:
    try:
        return bool(instance.request("GET", "/readyz")["status"] == "ready")
    except OSError:
        return False


def _until(condition: Callable[[], bool], problem: str, instance: Instance) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise InstanceFailed(f"{problem}; the end of its log:\n{instance.log_end()}")
        time.sleep(0.3)
