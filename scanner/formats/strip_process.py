"""Strips one file in a process of its own, with its hands tied as a decoder's.

A file that crashes it, takes too long or too much memory takes nothing else along: that comes out
as StripError. The file goes in and the result comes out through pipes; nothing else is given.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

from scanner.decoding.decoder import ENVIRONMENT, KEPT, ROOT
from scanner.decoding.decoder_process import tie_hands
from scanner.errors import ScannerError, StripError
from scanner.formats.strip import strip
from scanner.limits import Limits

REFUSED = 3
"""The child's exit code when standard output is a sentence that says why."""
STEPS = 4
"""How often over the time for decoding: it decodes, codes, and decodes what came out."""
COMMAND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from scanner.formats.strip_process import main; main()"
)


async def strip_apart(
    data: bytes, limits: Limits, *, memory_bytes: int, decode_seconds: float
) -> bytes:
    """Return the file without what is not its picture; raises StripError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", COMMAND, str(ROOT)),
        *(str(memory_bytes), limits.model_dump_json()),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={**ENVIRONMENT, **{k: os.environ[k] for k in KEPT if k in os.environ}},
    )
    try:
        out, _ = await asyncio.wait_for(child.communicate(data), STEPS * decode_seconds)
    except TimeoutError as error:
        raise StripError("it takes too long to be taken apart: keep it, or refuse it") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == REFUSED:
        raise StripError(out.decode(errors="replace"))
    if child.returncode != 0 or not out:
        raise StripError("a decoder fails at this file: keep it, or refuse it")
    return out


def main() -> None:
    """Strip what comes through standard input, by the limits on the command line."""
    memory, limits = sys.argv[1:]
    tie_hands(int(memory))
    try:
        result, code = strip(sys.stdin.buffer.read(), Limits.model_validate_json(limits)), 0
    except (ScannerError, MemoryError) as error:
        why = str(error) or "it takes more memory than it may"
        result, code = why.encode(errors="replace"), REFUSED
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
