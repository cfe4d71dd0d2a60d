"""Run every benchmark, each in a process of its own; exit 1 when any missed a goal.

`python -m benchmarks` runs all; `python -m benchmarks index store` runs those named.
"""

import subprocess
import sys
from pathlib import Path

HELPERS = {"__init__", "__main__", "report", "liars"}  # `judgement` runs the last


def names() -> list[str]:
    """Return the benchmarks in this folder, in order."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in HELPERS)


def main(asked: list[str]) -> int:
    """Run the benchmarks asked for, or all."""
    unknown = sorted(set(asked) - set(names()))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
        return 2
    run = [sys.executable, "-m"]
    codes = [
        subprocess.run([*run, f"benchmarks.{name}"], check=False).returncode
        for name in asked or names()
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
