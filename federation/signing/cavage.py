"""HTTP signatures of requests: draft-cavage-http-signatures-12 with RSA and SHA-256.

Decides whether a request, body included, came from the holder of a key, for this instance and
within the hour. What is signed for is the configured base URL; the `Host` header is never
looked at. Whose key it is, and whether its owner may do what is asked, is decided by others.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from federation.errors import BadRequest, BadSignature
from federation.origin import Origin, netloc_of
from federation.signing.digest import check_content_digest, check_digest
from federation.signing.request import (
    Request,
    RsaKey,
    VerifiedRequest,
    check_time,
    headers_of,
)
from federation.signing.signature_header import Signature, parse_signature
from federation.wire.times import from_http_date, to_http_date

_ALGORITHMS: Final = (None, "hs2019", "rsa-sha256")


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
    headers = headers_of(request)
    signature = parse_signature(_signature_value(headers))
    _check_covered(request, signature)
    _check_time(signature, headers, now)
    if request.has_body:
        check_digest(headers.get("digest", ""), request.body)
        if "content-digest" in headers:
            check_content_digest(headers["content-digest"], request.body)
    return signature


def verify_read(
    request: Request, signature: Signature, key: RsaKey, base: Origin
) -> VerifiedRequest:
    """Verify that the holder of `key` made the signature of this request for `base`.

    `signature` is what `read_signature` gave. Raises `BadSignature`.
    """
    if signature.key_id != key.id:
        raise BadSignature("the signature names another key than the one given")
    headers = headers_of(request) | {"host": netloc_of(base)}
    if not any(_fits(key, signature, headers, line) for line in _targets(request)):
        raise BadSignature("the signature does not fit the request")
    return VerifiedRequest(key.id, key.owner, _signed_at(signature, headers))


def _signature_value(headers: dict[str, str]) -> str:
    if "signature" in headers and "signature-input" not in headers:  # else that of RFC 9421
        return headers["signature"]
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "signature":
        raise BadSignature("the request is not signed")
    return value


def _check_covered(request: Request, signature: Signature) -> None:
    needed = {"(request-target)", "host"}
    if request.has_body:
        needed.add("digest")
    missing = needed.difference(signature.headers)
    if missing or not {"date", "(created)"}.intersection(signature.headers):
        raise BadSignature("the signature does not cover all of request-target, host, date, digest")
    if signature.algorithm not in _ALGORITHMS:
        raise BadSignature("the signature's algorithm is neither rsa-sha256 nor hs2019")
    pseudo = {"(created)", "(expires)"}.intersection(signature.headers)
    if pseudo and signature.algorithm == "rsa-sha256":  # draft-cavage-12, section 2.3
        raise BadSignature("(created) and (expires) need the algorithm hs2019")


def _check_time(signature: Signature, headers: dict[str, str], now: int) -> None:
    check_time(_signed_at(signature, headers), signature.expires, now)
    if signature.created is not None:
        check_time(signature.created, None, now)


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
