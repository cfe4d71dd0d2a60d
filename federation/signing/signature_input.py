"""Reading `Signature-Input` and `Signature` of RFC 9421, section 4.

Decides which signatures of a request keep the rules, not whether they hold: each covers
`@method`, `@target-uri` and, with a body, `content-digest` (RFC 9530), and says `created` and
`keyid`; `alg` may be left out, and `expires` counts. Proxies add signatures of their own: one
that keeps the rules is enough, and what else stands beside it is passed over. Sizes are checked
before anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import http_sf

from federation.errors import BadSignature
from federation.signing.digest import check_content_digest, check_digest
from federation.signing.request import Request, check_time, headers_of
from federation.signing.signature_header import MAX_COVERED, MAX_HEADER_CHARACTERS

MAX_LABELS: Final = 8
"""Signatures of one request."""
MAX_PARAMETERS: Final = 2
"""Components of a signature with parameters: for each a whole header is read by its grammar."""
ALGORITHM: Final = "rsa-v1_5-sha256"
NEEDED: Final = ("@method", "@target-uri")
NOT_COVERED: Final = ("signature", "signature-input")  # RFC 9421, section 7.3.7
_DERIVED: Final = (*NEEDED, "@authority", "@scheme", "@request-target", "@path", "@query")
_SINGLE: Final = ("date", "digest", "content-digest", "content-type")


@dataclass(frozen=True, slots=True)
class LabelledSignature:
    """One signature that keeps the rules; whether it holds is not known yet."""

    label: str
    key_id: str
    created: int
    input: str  # the member of Signature-Input, as it is signed
    value: bytes


def read_signatures(request: Request, now: int) -> tuple[LabelledSignature, ...]:
    """Return the signatures that keep the rules, after all checks that need no key.

    Coverage, time window and digests are checked here, so that a bad request costs no key fetch.
    Raises `BadSignature` where none is left.
    """
    headers = headers_of(request, _SINGLE)
    inputs = _dictionary(headers, "signature-input")
    values = _dictionary(headers, "signature")
    if inputs.keys() != values.keys():
        raise BadSignature("Signature and Signature-Input do not have the same labels")
    _check_digests(request, headers)
    return _fitting(request, inputs, values, now)


def _dictionary(headers: Mapping[str, str], name: str) -> dict[str, Any]:
    """RFC 9651, section 3.2; label -> (value, parameters)."""
    text = headers.get(name, "")
    if len(text) > MAX_HEADER_CHARACTERS:
        raise BadSignature(f"the {name} header has more than {MAX_HEADER_CHARACTERS} characters")
    repeated: list[str] = []
    try:
        parsed = http_sf.parse(
            text.encode("ascii"),
            tltype="dictionary",
            on_duplicate_key=lambda key, _: repeated.append(key),
        )
    except ValueError as error:
        raise BadSignature(f"the {name} header cannot be read") from error
    if not isinstance(parsed, dict) or not 0 < len(parsed) <= MAX_LABELS or repeated:
        raise BadSignature(f"the {name} header has no labels, one twice, or over {MAX_LABELS}")
    return parsed


def _check_digests(request: Request, headers: Mapping[str, str]) -> None:
    """Check whichever digests there are; that one is covered is checked with each signature."""
    if not request.has_body:
        return
    check_content_digest(headers.get("content-digest", ""), request.body)
    if "digest" in headers:
        check_digest(headers["digest"], request.body)


def _fitting(
    request: Request, inputs: Mapping[str, Any], values: Mapping[str, Any], now: int
) -> tuple[LabelledSignature, ...]:
    found, refused = [], []
    for label, member in inputs.items():
        try:
            found.append(_read_one(request, label, member, values[label], now))
        except BadSignature as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return tuple(found)


def _read_one(request: Request, label: str, member: Any, value: Any, now: int) -> LabelledSignature:
    components, parameters = member
    if not isinstance(components, list) or not isinstance(value[0], bytes) or not value[0]:
        raise BadSignature("a member of Signature-Input or Signature is of a wrong type")
    _check_covered(request, components)
    created, key_id = parameters.get("created"), parameters.get("keyid")
    expires = parameters.get("expires")
    if type(created) is not int or (expires is not None and type(expires) is not int):
        raise BadSignature("the signature's created or expires is missing, or no whole second")
    if not isinstance(key_id, str) or not key_id:
        raise BadSignature("the signature names no keyid")
    if parameters.get("alg", ALGORITHM) != ALGORITHM:
        raise BadSignature(f"the signature's alg is not {ALGORITHM}")
    check_time(created, expires, now)
    return LabelledSignature(label, key_id, created, http_sf.ser({label: member}), value[0])


def _check_covered(request: Request, components: list[Any]) -> None:
    if len(components) > MAX_COVERED:
        raise BadSignature(f"the signature covers more than {MAX_COVERED} components")
    if sum(bool(parameters) for _, parameters in components) > MAX_PARAMETERS:
        raise BadSignature(f"more than {MAX_PARAMETERS} covered components have parameters")
    plain = {name for name, parameters in components if not parameters}
    needed = {*NEEDED, "content-digest"} if request.has_body else set(NEEDED)
    if not needed <= plain:
        raise BadSignature("the signature does not cover all of method, target-uri, content-digest")
    if not all(map(_may_cover, (name for name, _ in components))):
        raise BadSignature("the signature covers something that is not of a request")


def _may_cover(name: object) -> bool:
    if not isinstance(name, str) or name in NOT_COVERED:
        return False
    return not name.startswith("@") or name in _DERIVED or name == "@query-param"
