"""Whether a judgement may be reused: what near matching finds, what fools it, what liars get by.

`python -m benchmarks.judgement` runs every part, `python -m benchmarks.judgement fooling` the one
named. Each part prints tables and writes benchmarks/results/judgement_PART.json.
"""

import subprocess
import sys

PARTS = {
    "transforms": ("benchmarks.fooling.recall", "near-match recall by transform, false matches"),
    "fooling": ("benchmarks.fooling.attacks", "wrong clean by reuse, by setting and attack"),
    "liars": ("benchmarks.liars", "what a trusted liar gets through before audits catch it"),
}


def main(asked: list[str]) -> int:
    """Run the parts, each in a process of its own; 1 when a goal is missed, 2 for no such part."""
    if unknown := sorted(set(asked) - set(PARTS)):
        print(f"no part {', '.join(unknown)}; there are:")
        print("\n".join(f"  {name:<11} {what}" for name, (_, what) in PARTS.items()))
        return 2
    code = (
        "import importlib, sys; import fediverdict; sys.exit(importlib.import_module({!r}).main())"
    )
    codes = [
        subprocess.run([sys.executable, "-c", code.format(PARTS[part][0])], check=False).returncode
        for part in asked or PARTS
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
