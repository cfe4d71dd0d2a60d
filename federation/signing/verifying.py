"""From an inbound request or page to who really sent it: the checks that need a peer's keys.

Decides when a peer's actor is fetched again: when it does not list the key, or the signature
does not fit (keys are rotated under one id), at most once in ten minutes (`actors.py`). Only
the actor that is claimed is ever fetched, never a key id. A bad proof is a rejection even
under a good HTTP signature.
"""

import asyncio

from federation.actors.actors import Actors
from federation.actors.remote_actor import RemoteActor
from federation.errors import BadProof, BadRequest, BadSignature, FederationError
from federation.instance import Instance
from federation.origin import Url, origin_of, parse_url
from federation.signing.cavage import Request, read_signature, verify_request
from federation.signing.identity import Scheme, VerifiedSender
from federation.wire.attestation import VerifiedAttestation, verify_attestation
from federation.wire.page import VerifiedPage, verify_page
from federation.wire.strictjson import JsonObject


class Verifier:
    """Verifies signatures and proofs with the keys that `actors` remembers or fetches."""

    def __init__(self, actors: Actors, instance: Instance) -> None:
        self._actors = actors
        self._instance = instance

    async def knows(self, actor_id: Url) -> bool:
        """Tell whether the actor is remembered, so that verifying it needs no fetch."""
        return await self._actors.known(actor_id) is not None

    async def request_of(self, request: Request, actor_id: Url) -> VerifiedSender:
        """Return the sender, if a key of `actor_id` signed the request; else `BadSignature`."""
        key_id = key_id_of(request, self._instance.clock())
        if origin_of(key_id) != origin_of(actor_id):
            message = f"{key_id} is not a key of {actor_id}"
            raise BadSignature(message)
        actor = await self._actors.get(actor_id)
        try:
            return self._check(request, actor, key_id)
        except BadSignature as error:
            return self._check(request, await self._again(actor, error), key_id)

    async def page_of(self, document: JsonObject, actor: RemoteActor) -> VerifiedPage:
        """Return the page, if it is one of the feed `actor`; raises as `verify_page` does."""
        try:
            return await self._verify_page(document, actor)
        except BadProof as error:
            return await self._verify_page(document, await self._again(actor, error))

    async def attestation_of(
        self, document: JsonObject, actor: RemoteActor, sha256: bytes
    ) -> VerifiedAttestation:
        """Return what the feed `actor` says of a picture; raises as `verify_attestation` does."""
        now = self._instance.clock()
        try:
            return verify_attestation(document, actor, sha256, now)
        except BadProof as error:
            return verify_attestation(document, await self._again(actor, error), sha256, now)

    async def _verify_page(self, document: JsonObject, actor: RemoteActor) -> VerifiedPage:
        return await asyncio.to_thread(verify_page, document, actor, self._instance.clock())

    async def _again(self, actor: RemoteActor, error: BadSignature | BadProof) -> RemoteActor:
        """Fetch the actor once more; `error` stands where that was done lately or fails."""
        try:
            return await self._actors.refetch(actor.id)
        except FederationError:
            raise error from None

    def _check(self, request: Request, actor: RemoteActor, key_id: Url) -> VerifiedSender:
        key = actor.rsa_keys.get(key_id)
        if key is None:
            message = f"{actor.id} lists no key {key_id}"
            raise BadSignature(message)
        verified = verify_request(request, key, self._instance.clock(), self._instance.base)
        if verified.actor != actor.id:
            message = f"the request is signed by {verified.actor}, not by {actor.id}"
            raise BadSignature(message)
        return VerifiedSender(actor, key_id, Scheme.CAVAGE, verified.signed)


def key_id_of(request: Request, now: int) -> Url:
    """Return the key id of a request's signature, after all checks that need no key."""
    key_id = read_signature(request, now).key_id
    try:
        return parse_url(key_id, allow_http=True)
    except BadRequest as error:
        message = "the signature's keyId is no URL"
        raise BadSignature(message) from error
