"""Both kinds of HTTP signatures side by side: who sent a request.

Decides which schemes a request is signed in, whose keys it names, and whether one of an actor's
keys made its signatures. `Signature-Input` means RFC 9421; `Signature` without it, or
`Authorization: Signature`, means draft-cavage. A request that carries both must be right in
both, with one key: a wrong one refuses it.
"""

from collections.abc import Iterable

from federation.actors.remote_actor import RemoteActor
from federation.errors import BadRequest, BadSignature, WrongOrigin
from federation.origin import Origin, Url, exact_url
from federation.signing import cavage, message_signatures
from federation.signing.identity import Scheme, VerifiedSender
from federation.signing.request import Request, RsaKey, VerifiedRequest
from federation.signing.signature_input import read_signatures


def schemes_of(request: Request) -> tuple[Scheme, ...]:
    """Return the schemes that a request is signed in, RFC 9421 first; none is `BadSignature`."""
    names = {name.lower() for name, _ in request.headers}
    found = [Scheme.RFC9421] if "signature-input" in names else []
    if any(map(_is_authorization, request.headers)) or (not found and "signature" in names):
        found.append(Scheme.CAVAGE)
    if not found:
        raise BadSignature("the request is not signed")
    return tuple(found)


def key_ids_of(request: Request, now: int) -> tuple[Url, ...]:
    """Return the key ids that a request names, after all checks that need no key.

    Several labels of RFC 9421 may name several; both schemes together, one that both name.
    Raises `BadSignature`.
    """
    named = [_named(request, scheme, now) for scheme in schemes_of(request)]
    urls = tuple(_urls(key_id for key_id in named[0] if all(key_id in ids for ids in named)))
    if not urls:
        raise BadSignature("the signatures name no key, two of them, or none by a canonical URL")
    return urls


def check_sender(request: Request, actor: RemoteActor, now: int, base: Origin) -> VerifiedSender:
    """Return the sender, if a key of `actor` signed the request for `base`; else `BadSignature`."""
    schemes, error = schemes_of(request), BadSignature(f"{actor.id} lists no key of the request")
    for key_id in key_ids_of(request, now):
        key = actor.rsa_keys.get(key_id)
        if key is None or key.owner != actor.id:
            continue
        try:
            verified = [_verify(request, scheme, key, now, base) for scheme in schemes]
        except BadSignature as refused:
            error = refused
        else:
            return VerifiedSender(actor, key_id, schemes[0], verified[0].signed)
    raise error


def _is_authorization(header: tuple[str, str]) -> bool:
    name, value = header
    return name.lower() == "authorization" and value.strip().lower().startswith("signature ")


def _named(request: Request, scheme: Scheme, now: int) -> list[str]:
    if scheme is Scheme.RFC9421:
        return list(dict.fromkeys(one.key_id for one in read_signatures(request, now)))
    return [cavage.read_signature(request, now).key_id]


def _urls(key_ids: Iterable[str]) -> Iterable[Url]:
    for key_id in key_ids:
        try:
            yield exact_url(key_id, allow_http=True)
        except (BadRequest, WrongOrigin):
            continue


def _verify(
    request: Request, scheme: Scheme, key: RsaKey, now: int, base: Origin
) -> VerifiedRequest:
    if scheme is Scheme.RFC9421:
        return message_signatures.verify_request(request, key, now, base)
    return cavage.verify_request(request, key, now, base)
