"""Both kinds of HTTP signatures side by side: who sent a request.

Decides which schemes a request is signed in, whose keys it names, and whether one of an actor's
keys made its signatures. `Signature-Input` means RFC 9421; `Signature` without it, or
`Authorization: Signature`, means draft-cavage. A request that carries both must be right in
both, with one key: a wrong one refuses it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.actors.remote_actor import RemoteActor
from federation.errors import BadRequest, BadSignature, WrongOrigin
from federation.origin import Origin, Url, exact_url
from federation.signing import cavage, message_signatures
from federation.signing.identity import Scheme, VerifiedSender
from federation.signing.request import Request, RsaKey
from federation.signing.signature_header import Signature
from federation.signing.signature_input import LabelledSignature, read_signatures


def schemes_of(request: Request) -> tuple[Scheme, ...]:
    """Return the schemes that a request is signed in, RFC 9421 first; none is `BadSignature`."""
    names = {name.lower() for name, _ in request.headers}
    found = [Scheme.RFC9421] if "signature-input" in names else []
    if any(map(_is_authorization, request.headers)) or (not found and "signature" in names):
        found.append(Scheme.CAVAGE)
    if not found:
        raise BadSignature("the request is not signed")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signatures keep the rules; whether they hold is not known yet."""

    request: Request
    cavage: Signature | None
    rfc9421: tuple[LabelledSignature, ...]
    key_ids: tuple[Url, ...]

    @property
    def scheme(self) -> Scheme:
        """The scheme, and of two the newer one."""
        return Scheme.RFC9421 if self.rfc9421 else Scheme.CAVAGE


def read_signed(request: Request, now: int) -> SignedRequest:
    """Return the request with its signatures, after all checks that need no key.

    Several labels of RFC 9421 may name several keys; both schemes together, one that both name.
    Raises `BadSignature`.
    """
    schemes = schemes_of(request)
    old = cavage.read_signature(request, now) if Scheme.CAVAGE in schemes else None
    new = read_signatures(request, now) if Scheme.RFC9421 in schemes else ()
    names = dict.fromkeys([one.key_id for one in new] or ([old.key_id] if old else []))
    key_ids = tuple(_urls(name for name in names if old is None or name == old.key_id))
    if not key_ids:
        raise BadSignature("the signatures name no key, two of them, or none by a canonical URL")
    return SignedRequest(request, old, new, key_ids)


def check_sender(
    signed: SignedRequest, actor: RemoteActor, now: int, base: Origin
) -> VerifiedSender:
    """Return the sender, if a key of `actor` signed the request for `base`; else `BadSignature`."""
    error = BadSignature(f"{actor.id} lists no key of the request")
    for key_id in signed.key_ids:
        key = actor.rsa_keys.get(key_id)
        if key is None or key.owner != actor.id:
            continue
        try:
            return VerifiedSender(actor, key_id, signed.scheme, _verify(signed, key, now, base))
        except BadSignature as refused:
            error = refused
    raise error


def _is_authorization(header: tuple[str, str]) -> bool:
    name, value = header
    return name.lower() == "authorization" and value.strip().lower().startswith("signature ")


def _urls(key_ids: Iterable[str]) -> Iterable[Url]:
    for key_id in key_ids:
        try:
            yield exact_url(key_id, allow_http=True)
        except (BadRequest, WrongOrigin):
            continue


def _verify(signed: SignedRequest, key: RsaKey, now: int, base: Origin) -> int:
    """Return when the request was signed, if all its schemes hold; else `BadSignature`."""
    times = []
    if signed.rfc9421:
        new = message_signatures.verify_read(signed.request, signed.rfc9421, key, now, base)
        times.append(new.signed)
    if signed.cavage is not None:
        times.append(cavage.verify_read(signed.request, signed.cavage, key, base).signed)
    return times[0]
