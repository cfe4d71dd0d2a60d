"""The scanner's figures: what an answer costs, and how many pictures a second, beside its peer.

`python -m benchmarks.scanner` runs every part, `python -m benchmarks.scanner cost` the one named.
Each part prints a table and writes benchmarks/results/scanner_PART.json.
"""

import subprocess
import sys

PARTS = {
    "fingerprints": "decode, PDQ and pHash of one JPEG",
    "cost": "core-milliseconds an answer, by the way it is found",
    "fedi_safety": "pictures a second beside fedi-safety's way",
    "hostile": "10,000 mutations and other hostile files through the pool",
    "memory": "100,000 pictures: peak memory, growth, kill -9 and restart (half an hour)",
}


def main(asked: list[str]) -> int:
    """Run the parts, each in a process of its own; 1 when a goal is missed, 2 for no such part."""
    if unknown := sorted(set(asked) - set(PARTS)):
        print(f"no part {', '.join(unknown)}; there are:")
        print("\n".join(f"  {name:<13} {what}" for name, what in PARTS.items()))
        return 2
    code = (
        "import importlib, sys; import fediverdict; sys.exit(importlib.import_module({!r}).main())"
    )
    codes = [
        subprocess.run(
            [sys.executable, "-c", code.format(f"benchmarks.scan.{part}")], check=False
        ).returncode
        for part in asked or PARTS
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
