"""How much memory an index takes: built alone in a fresh process, its inputs given back."""

import ctypes
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.indexing.data import codes
from benchmarks.indexing.peers import built, inputs

MEGABYTE = 1e6


def built_alone(name: str, number: int) -> tuple[float, float]:
    """Return (MB, seconds): what building this index of so many codes took in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.indexing.memory", name, str(number)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    megabytes, seconds = json.loads(out.splitlines()[-1])
    return megabytes, seconds


def _measure(name: str, number: int) -> tuple[float, float]:
    built(name, inputs(name, codes(10)))  # imports
    before = _trimmed()
    given = inputs(name, codes(number))
    begun = time.perf_counter()
    search = built(name, given)
    seconds = time.perf_counter() - begun
    del given
    used = _trimmed() - before
    search(codes(1, 5)[0])
    return used / MEGABYTE, seconds


def _trimmed() -> int:
    """Return what is held when all that can be is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _resident()


def _resident() -> int:
    """Return the bytes of memory that are this process's own (no pages of shared files)."""
    text = Path("/proc/self/smaps_rollup").read_text("ascii")
    kilobytes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private")]
    return sum(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
