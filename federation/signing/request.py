"""What of an inbound request is signed, and the key that it was signed with.

Decides how header fields are read: names in lower case, values stripped, several lines of one
name joined by a comma, and none of the names that signatures rest upon may stand there twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from federation.errors import BadSignature

WINDOW_SECONDS: Final = 3_600
"""How far the time of a signature, of either scheme, may lie from now, either way."""
_SINGLE: Final = ("signature", "date", "digest", "content-digest", "content-type")


@dataclass(frozen=True, slots=True)
class Request:
    """What of an inbound request is signed; `target` is path and query as they came."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    @property
    def has_body(self) -> bool:
        """Whether a digest must bind a body, be it an empty one."""
        return self.method.upper() not in ("GET", "HEAD") or bool(self.body)


@dataclass(frozen=True, slots=True)
class RsaKey:
    """An actor's key for HTTP signatures."""

    id: str
    owner: str
    public: RSAPublicKey


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose signature has been verified; `actor` is the key's owner."""

    key_id: str
    actor: str
    signed: int


def headers_of(request: Request, single: Sequence[str] = _SINGLE) -> dict[str, str]:
    """Return the header fields; one of `single` that stands there twice is a `BadSignature`."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        lower = name.lower()
        if lower in headers and lower in single:
            raise BadSignature(f"the header {lower} stands there twice")
        headers[lower] = f"{headers[lower]}, {value.strip()}" if lower in headers else value.strip()
    return headers


def check_time(created: int, expires: int | None, now: int) -> None:
    """Raise `BadSignature` for a signature of another hour, or one that has expired."""
    if abs(now - created) > WINDOW_SECONDS:
        raise BadSignature(f"the signature is more than {WINDOW_SECONDS} s away from now")
    if expires is not None and now > expires:
        raise BadSignature("the signature has expired")
