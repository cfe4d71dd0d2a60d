"""Fuzz every parser in turn: `python -m fuzz [SECONDS a parser] [NAME ...]`; `make fuzz` does it.

Prints executions and crashes for each, keeps what was found in `.fuzz/`, and ends with 1 where
anything crashed.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".fuzz")
GRACE_SECONDS = 120
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main(arguments: list[str]) -> int:
    """Fuzz the named parsers, or all, for so many seconds each."""
    from fuzz.fuzz_parsers import PARSERS, write_seeds  # noqa: PLC0415  # needs atheris

    seconds = int(arguments[0]) if arguments else 20
    executed = crashed = 0
    for name in arguments[1:] or PARSERS:
        write_seeds(name, FOLDER / name / "corpus")
        count, crashes = _run(name, seconds)
        executed, crashed = executed + count, crashed + crashes
        print(f"{name:20} {count:>12,} executions  {crashes} crashes", flush=True)
    print(f"{'in all':20} {executed:>12,} executions  {crashed} crashes")
    return 1 if crashed else 0


def _run(name: str, seconds: int) -> tuple[int, int]:
    """Fuzz one parser in a process of its own; returns its executions and crashes."""
    folder = FOLDER / name
    before = set(folder.glob("*-*"))
    options = [f"-max_total_time={seconds}", "-print_final_stats=1"]
    options += [f"-artifact_prefix={folder}/", str(folder / "corpus")]
    command = [sys.executable, "-m", "fuzz.fuzz_parsers", name, *options]
    log = folder / "log.txt"
    with log.open("wb") as out:
        done = subprocess.run(
            command, stdout=out, stderr=out, check=False, timeout=seconds + GRACE_SECONDS
        )
    found = _EXECUTED.search(log.read_text(errors="replace"))
    crashes = len(set(folder.glob("*-*")) - before)
    if done.returncode and not crashes:
        print(log.read_text(errors="replace")[-2_000:], file=sys.stderr)
        crashes = 1
    return int(found[1]) if found else 0, crashes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
