"""HTTP signatures of requests: draft-cavage-http-signatures-12 with RSA and SHA-256.

Decides whether a request, body included, came from the holder of a key, for this instance and
within the hour. What is signed for is the configured base URL; the `Host` header is never
looked at. Whose key it is, and whether its owner may do what is asked, is decided by others.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from federation.errors import BadRequest, BadSignature
from federation.origin import Origin, netloc_of
from federation.signing.digest import check_digests
from federation.signing.signature_header import Signature, parse_signature
from federation.wire.times import from_http_date, to_http_date

WINDOW_SECONDS: Final = 3_600  # either way
_ALGORITHMS: Final = (None, "hs2019", "rsa-sha256")
_SINGLE: Final = ("signature", "date", "digest", "content-digest", "content-type")


@dataclass(frozen=True, slots=True)
class Request:
    """What of an inbound request is signed; `target` is path and query as they came."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


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


def sign_request(
    method: str,
    url: str,
    body: bytes | None,
    key: RSAPrivateKey,
    key_id: str,
    now: int,
    content_type: str = "application/activity+json",
) -> dict[str, str]:
    """Return the headers that sign a request: Host, Date and Signature, with a body more.

    Covers `(request-target) host date`, and `digest content-type` where there is a body.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "Date": to_http_date(now)}
    if body is not None:
        headers["Digest"] = "SHA-256=" + b64encode(hashlib.sha256(body).digest()).decode()
        headers["Content-Type"] = content_type
    lines = {"(request-target)": f"{method.lower()} {target}"}
    lines |= {name.lower(): value for name, value in headers.items()}
    signature = key.sign(_signing_string(lines, tuple(lines)), PKCS1v15(), SHA256())
    headers["Signature"] = (
        f'keyId="{key_id}",algorithm="rsa-sha256",headers="{" ".join(lines)}",'
        f'signature="{b64encode(signature).decode()}"'
    )
    return headers


def read_signature(request: Request, now: int) -> Signature:
    """Return the request's signature after all checks that need no key.

    Coverage, time window and digest are checked here, so that a bad request costs no key fetch.
    Raises `BadSignature`.
    """
    headers = _headers(request)
    signature = parse_signature(_signature_value(headers))
    _check_covered(request, signature)
    _check_time(signature, headers, now)
    if _has_body(request):
        check_digests(headers, request.body)
    return signature


def verify_request(request: Request, key: RsaKey, now: int, base: Origin) -> VerifiedRequest:
    """Verify that the holder of `key` signed this request for `base`; else `BadSignature`."""
    signature = read_signature(request, now)
    if signature.key_id != key.id:
        raise BadSignature("the signature names another key than the one given")
    headers = _headers(request) | {"host": netloc_of(base)}
    if not any(_fits(key, signature, headers, line) for line in _targets(request)):
        raise BadSignature("the signature does not fit the request")
    return VerifiedRequest(key.id, key.owner, _signed_at(signature, headers))


def _headers(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        lower = name.lower()
        if lower in headers and lower in _SINGLE:
            raise BadSignature(f"the header {lower} stands there twice")
        headers[lower] = f"{headers[lower]}, {value.strip()}" if lower in headers else value.strip()
    return headers


def _signature_value(headers: dict[str, str]) -> str:
    if "signature" in headers:
        return headers["signature"]
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "signature":
        raise BadSignature("the request is not signed")
    return value


def _check_covered(request: Request, signature: Signature) -> None:
    needed = {"(request-target)", "host"}
    if _has_body(request):
        needed.add("digest")
    missing = needed.difference(signature.headers)
    if missing or not {"date", "(created)"}.intersection(signature.headers):
        raise BadSignature("the signature does not cover all of request-target, host, date, digest")
    if signature.algorithm not in _ALGORITHMS:
        raise BadSignature("the signature's algorithm is neither rsa-sha256 nor hs2019")
    pseudo = {"(created)", "(expires)"}.intersection(signature.headers)
    if pseudo and signature.algorithm == "rsa-sha256":  # draft-cavage-12, section 2.3
        raise BadSignature("(created) and (expires) need the algorithm hs2019")


def _has_body(request: Request) -> bool:
    return request.method.upper() not in ("GET", "HEAD") or bool(request.body)


def _check_time(signature: Signature, headers: dict[str, str], now: int) -> None:
    times = [_signed_at(signature, headers)]
    if signature.created is not None:
        times.append(signature.created)
    if any(abs(now - time) > WINDOW_SECONDS for time in times):
        raise BadSignature(f"the signature is more than {WINDOW_SECONDS} s away from now")
    if signature.expires is not None and now > signature.expires:
        raise BadSignature("the signature has expired")


def _signed_at(signature: Signature, headers: dict[str, str]) -> int:
    if "date" in signature.headers:
        try:
            return from_http_date(headers.get("date"))
        except BadRequest as error:
            raise BadSignature("the Date header is missing or cannot be read") from error
    if signature.created is None:
        raise BadSignature("the signature covers (created) but does not name it")
    return signature.created


def _targets(request: Request) -> list[str]:
    """Some peers sign the target without its query."""
    method = request.method.lower()
    path = request.target.partition("?")[0]
    return list(dict.fromkeys((f"{method} {request.target}", f"{method} {path}")))


def _fits(key: RsaKey, signature: Signature, headers: dict[str, str], target: str) -> bool:
    lines = headers | {"(request-target)": target}
    if signature.created is not None:
        lines["(created)"] = str(signature.created)
    if signature.expires is not None:
        lines["(expires)"] = str(signature.expires)
    message = _signing_string(lines, signature.headers)
    try:
        key.public.verify(signature.value, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _signing_string(lines: dict[str, str], covered: Sequence[str]) -> bytes:
    """Draft-cavage-12, section 2.3."""
    missing = [name for name in covered if name not in lines]
    if missing:
        raise BadSignature("the signature covers a header that the request does not have")
    return "\n".join(f"{name}: {lines[name]}" for name in covered).encode("utf-8", "replace")
