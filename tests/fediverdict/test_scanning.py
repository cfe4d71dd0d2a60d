"""The scanner in the server: one attempt to load the model for all who wait, never in their way."""

import asyncio
import threading
import time

import pytest

from fediverdict import scanning
from fediverdict.scanning import Scanner
from scanner.errors import ModelError
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from tests.fakes.scanner import RedClassifier
from tests.waiting import HELD, PATIENCE, happens, until


class Loader:
    """Loads when it is let, and fails as long as `error` is set."""

    def __init__(self):
        self.gate, self.error, self.calls = threading.Event(), None, 0

    def __call__(self, _settings, _policy, _purpose, _progress):
        self.calls += 1
        self.gate.wait(HELD)
        if self.error:
            raise self.error
        return RedClassifier()


@pytest.fixture
def loader(monkeypatch):
    made = Loader()
    monkeypatch.setattr(scanning, "load_classifier", made)
    return made


def scanner(*, preload=True):
    return Scanner(ScannerSettings(preload=preload), load_policy("test"))


async def test_those_who_wait_share_one_failure_and_the_next_tries_again(loader):
    one = scanner()
    loader.error = ModelError("no weights")
    waiting = [asyncio.create_task(one.load()) for _ in range(8)]
    await until(lambda: loader.calls)
    assert one.state == "loading"
    loader.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, ModelError) for error in found)
    assert (loader.calls, one.state) == (1, "failed")
    loader.error = None
    await one.load()
    assert (loader.calls, one.state) == (2, "ready")


async def test_a_model_that_loads_takes_no_thread_from_others(loader):
    one = scanner()
    waiting = [asyncio.create_task(one.score(RedClassifier.preprocess.nothing)) for _ in range(64)]
    await asyncio.sleep(0)
    await happens(asyncio.to_thread(int))
    loader.gate.set()
    await asyncio.gather(*waiting)
    assert loader.calls == 1


async def test_without_preload_an_instance_is_ready_before_its_first_scan():
    assert scanner(preload=False).state == "ready"
    assert scanner(preload=True).state == "loading"


async def test_a_download_ends_when_nobody_waits_for_it_any_more(monkeypatch):
    """Or the process could not end before it: Python waits for its threads."""
    begun = threading.Event()

    def downloads(_settings, _policy, _purpose, progress):
        for done in range(10_000):
            progress(done, None)
            begun.set()
            time.sleep(0.01)

    monkeypatch.setattr(scanning, "load_classifier", downloads)
    one = scanner()
    waiting = asyncio.create_task(one.load())
    await asyncio.to_thread(begun.wait, PATIENCE)
    one.close()
    with pytest.raises(ModelError, match="ended"):
        await happens(waiting)
