"""A `fediverdict` command line in a process of its own, with a scanner that needs no torch.

Each picture that is scored leaves a line in the file named first, on disk before its score is
known; so what was scanned can be counted over processes, however they end. Where so many were
scanned as the second word says, scanning stands still until the file's neighbour `.go` is there,
or for HELD seconds: a test that ends the process in the middle needs no luck.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

from fediverdict import parts
from fediverdict.cli import main
from tests.fakes.scanner import FakeScanner
from tests.waiting import HELD

SECONDS = 0.01
"""How long a picture takes, so that a process that is ended is in the midst of one."""


class NotingScanner(FakeScanner):
    """Takes its time for each picture, notes it, and stands still where it is told to."""

    def __init__(self, log, most):
        super().__init__()
        self._log, self._most, self._done = Path(log), most, 0

    def _score(self, parts):
        self._done += len(parts)
        if self._done > self._most:
            self._hold()
        time.sleep(SECONDS * len(parts))
        with self._log.open("a", encoding="ascii") as file:
            file.writelines(hashlib.sha256(part.tobytes()).hexdigest() + "\n" for part in parts)
            file.flush()
            os.fsync(file.fileno())
        return super()._score(parts)

    def _hold(self):
        ends = time.monotonic() + HELD
        while time.monotonic() < ends and not self._log.with_suffix(".go").exists():
            time.sleep(0.01)


if __name__ == "__main__":
    log, most, *arguments = sys.argv[1:]
    vars(parts).update(
        is_installed=lambda *_: True, Scanner=lambda *_: NotingScanner(log, float(most))
    )
    sys.argv = ["fediverdict", *arguments]
    main()
