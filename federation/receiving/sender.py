"""Who an inbound activity comes from: by HTTP signature, by its own integrity proof, or both.

A proof that does not fit is a rejection even under a good HTTP signature. Without any HTTP
signature a proof is enough, if it was made within the hour, as a signature has to be: it covers
actor, id and object, so that who passes it on can change nothing; and a replay is known by its
id, which is kept for longer than that. A request signed by somebody else than the actor is
refused, proof or not.
"""

from federation.errors import BadProof
from federation.origin import Url
from federation.signing.identity import Scheme, VerifiedSender
from federation.signing.request import WINDOW_SECONDS, Request
from federation.signing.verifying import Verifier
from federation.wire.activity_proof import created_at, has_proof
from federation.wire.strictjson import JsonObject

_SIGNATURES = frozenset({"signature", "signature-input", "authorization"})


async def sender_of(
    verifier: Verifier, request: Request, document: JsonObject, actor_id: Url, now: int
) -> VerifiedSender:
    """Return the sender of the activity in `request`; raises `BadSignature` or `BadProof`."""
    if not has_proof(document):
        return await verifier.request_of(request, actor_id)
    if is_signed(request):
        sender = await verifier.request_of(request, actor_id)
        await verifier.activity_of(document, actor_id)
        return sender
    if abs(now - created_at(document)) > WINDOW_SECONDS:  # before it costs a fetch
        message = f"the proof was made more than {WINDOW_SECONDS} s away from now"
        raise BadProof(message)
    actor, key, created = await verifier.activity_of(document, actor_id)
    return VerifiedSender(actor, key.id, Scheme.PROOF, created)


def is_signed(request: Request) -> bool:
    """Tell whether a request has anything that may be an HTTP signature."""
    return any(name.lower() in _SIGNATURES for name, _ in request.headers)
