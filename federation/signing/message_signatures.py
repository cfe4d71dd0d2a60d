"""HTTP signatures of requests: RFC 9421 with RSASSA-PKCS1-v1_5 and SHA-256.

Decides whether a request, body included, came from the holder of a key, for this instance and
within the hour. The target is built upon the configured base URL; the `Host` header is never
looked at. Which signatures are worth verifying is decided in `signature_input.py`; the signature
base and the signature itself are the work of `http_message_signatures`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import http_sf
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    MappingKeyResolver,
)
from http_message_signatures.algorithms import RSA_V1_5_SHA256

from federation.errors import BadSignature
from federation.origin import Origin, netloc_of
from federation.signing.request import (
    WINDOW_SECONDS,
    Request,
    RsaKey,
    VerifiedRequest,
    check_time,
)
from federation.signing.signature_input import (
    NEEDED,
    NOT_COVERED,
    LabelledSignature,
)
from federation.wire.times import to_http_date

_LABEL: Final = "sig1"


@dataclass(slots=True)
class _Message:
    """What the library reads a message from, and writes its headers into."""

    method: str
    url: str
    headers: Any


@dataclass(frozen=True, slots=True)
class _Lines:
    """Header lines of an inbound request, several of one name among them."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def items(self) -> list[tuple[str, str]]:
        return self.lines


def sign_request(
    method: str,
    url: str,
    body: bytes | None,
    key: RSAPrivateKey,
    key_id: str,
    now: int,
    content_type: str = "application/activity+json",
) -> dict[str, str]:
    """Return the headers that sign a request: Signature-Input, Signature, with a body more.

    Covers `@method` and `@target-uri`, and `content-type content-digest` where there is a body.
    """
    headers = {"Host": urlsplit(url).netloc, "Date": to_http_date(now)}
    covered = list(NEEDED)
    if body is not None:
        headers["Content-Type"] = content_type
        covered.append("content-type")
    keys = MappingKeyResolver(public_keys={}, private_keys={key_id: key})
    HTTPMessageSigner(signature_algorithm=RSA_V1_5_SHA256, key_resolver=keys).sign(
        _Message(method.upper(), url, headers),
        key_id=key_id,
        created=datetime.fromtimestamp(now, UTC),
        label=_LABEL,
        covered_component_ids=covered,
        body=body,
    )
    return headers


def verify_read(
    request: Request,
    signatures: Iterable[LabelledSignature],
    key: RsaKey,
    now: int,
    base: Origin,
) -> VerifiedRequest:
    """Verify that the holder of `key` made one of the signatures of this request for `base`.

    `signatures` are what `read_signatures` gave. Raises `BadSignature`.
    """
    if not request.target.startswith("/") or "#" in request.target:
        raise BadSignature("the request's target is no path")
    for signature in signatures:
        if signature.key_id == key.id and _holds(signature, request, key, now, base):
            return VerifiedRequest(key.id, key.owner, signature.created)
    raise BadSignature("no signature of the key given fits the request")


def _holds(
    signature: LabelledSignature, request: Request, key: RsaKey, now: int, base: Origin
) -> bool:
    """Tell whether the signature fits the request as it would be at the configured base."""
    lines = [*_other_lines(request.headers), ("host", netloc_of(base))]
    lines.append(("signature-input", signature.input))
    lines.append(("signature", http_sf.ser({signature.label: signature.value})))
    message = _Message(request.method, f"{base}{request.target}", _Lines(lines))
    try:
        _Verifier(key, now).verify(message)
    except HTTPMessageSignaturesException:
        return False
    return True


def _other_lines(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in lines:
        if name.lower() not in ("host", *NOT_COVERED):
            yield name, value


class _Verifier(HTTPMessageVerifier):
    """The library's verifier with our clock in the place of its own."""

    max_clock_skew = timedelta(seconds=WINDOW_SECONDS)

    def __init__(self, key: RsaKey, now: int) -> None:
        keys = MappingKeyResolver(public_keys={key.id: key.public}, private_keys={})
        super().__init__(signature_algorithm=RSA_V1_5_SHA256, key_resolver=keys)
        self._now = now

    def validate_created_and_expires(
        self,
        sig_input: Any,
        max_age: timedelta | None = None,  # noqa: ARG002 - the library hands it over
    ) -> None:
        """Raise `BadSignature` as `check_time` does."""
        check_time(sig_input.params["created"], sig_input.params.get("expires"), self._now)
