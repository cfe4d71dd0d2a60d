"""Reading what a peer answered: at most so many bytes, counted after decompression."""

import aiohttp

from federation.errors import TooLarge
from federation.origin import Url

_CHUNK_BYTES = 65_536


async def read_body(answer: aiohttp.ClientResponse, url: Url, max_bytes: int) -> bytes:
    """Return the decoded body; raises `TooLarge` at the first byte past `max_bytes`."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            answer.close()
            message = f"{url} is larger than {max_bytes} bytes"
            raise TooLarge(message)
    return bytes(body)
