"""One parser under atheris: `python -m fuzz.fuzz_parsers NAME [options of libFuzzer]`.

An input counts as a crash when the parser raises anything but a refusal of the 4xx class, or takes
longer than libFuzzer's `-timeout`. The parsers and the inputs to begin with are those of
`tests/federation/fuzzing`. Every second mutation is one of the tree, so that JSON stays JSON.
"""

import json
import random
import sys
from pathlib import Path

import atheris

__all__ = ["PARSERS", "main", "write_seeds"]

with atheris.instrument_imports(include=["federation", "http_sf", "http_message_signatures"]):
    from tests.federation.fuzzing.mutating import mutate, to_bytes
    from tests.federation.fuzzing.parsers import PARSERS, is_refusal, seeds

OPTIONS = ("-max_len=65536", "-timeout=20", "-rss_limit_mb=4096")


def main(name: str, options: list[str]) -> None:
    """Fuzz one parser until libFuzzer's options say to stop."""
    parser = PARSERS[name]

    def one_input(data: bytes) -> None:
        try:
            parser(data)
        except Exception as error:
            if not is_refusal(error):
                raise

    arguments = [sys.argv[0], *OPTIONS, *options]
    if isinstance(seeds()[name][0], bytes):
        atheris.Setup(arguments, one_input)
    else:
        atheris.Setup(arguments, one_input, custom_mutator=_mutated)
    atheris.Fuzz()


def write_seeds(name: str, folder: Path) -> None:
    """Write the inputs to begin with, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        data = seed if isinstance(seed, bytes) else to_bytes(seed)
        (folder / f"seed-{number}").write_bytes(data)


def _mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate the tree, where the bytes are one and the dice say so; else the bytes."""
    dice = random.Random(seed)
    try:
        tree = json.loads(data) if dice.random() < 0.5 else None
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        mutated: bytes = atheris.Mutate(data, len(data))
        return mutated[:max_size]
    return to_bytes(mutate(tree, dice))[:max_size]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
