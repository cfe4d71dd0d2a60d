"""From an inbound request or page to who really sent it: the checks that need a peer's keys.

Decides when a peer's actor is fetched again: when it does not list the key, or the signature
does not fit (keys are rotated under one id), at most once in ten minutes (`actors.py`). Only
the actor that is claimed is ever fetched, never a key id. A bad proof is a rejection even
under a good HTTP signature.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from federation.actors.actors import Actors
from federation.actors.remote_actor import RemoteActor
from federation.errors import BadProof, BadSignature, FederationError
from federation.instance import Instance
from federation.origin import Url, origin_of
from federation.signing.identity import VerifiedSender
from federation.signing.request import Request
from federation.signing.sender import SignedRequest, check_sender, read_signed
from federation.wire.activity_proof import verify_activity
from federation.wire.attestation import VerifiedAttestation, verify_attestation
from federation.wire.page import VerifiedPage, verify_page
from federation.wire.proof import ProofKey
from federation.wire.strictjson import JsonObject

T = TypeVar("T")


class Verifier:
    """Verifies signatures and proofs with the keys that `actors` remembers or fetches."""

    def __init__(self, actors: Actors, instance: Instance) -> None:
        self._actors = actors
        self._instance = instance
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def knows(self, actor_id: Url) -> bool:
        """Tell whether the actor is remembered, so that verifying it needs no fetch."""
        return await self._actors.known(actor_id) is not None

    async def request_of(self, request: Request, actor_id: Url) -> VerifiedSender:
        """Return the sender, if a key of `actor_id` signed the request; else `BadSignature`."""
        signed = read_signed(request, self._instance.clock())
        if origin_of(actor_id) not in map(origin_of, signed.key_ids):
            message = f"{signed.key_ids[0]} is not a key of {actor_id}"
            raise BadSignature(message)
        actor = await self._actors.get(actor_id)
        try:
            return self._check(signed, actor)
        except BadSignature as error:
            if not actor.proof_keys.keys().isdisjoint(
                signed.key_ids
            ):  # no later key of that name is RSA
                raise
            return self._check(signed, await self._again(actor, error))

    async def activity_of(
        self, document: JsonObject, actor_id: Url
    ) -> tuple[RemoteActor, ProofKey, int]:
        """Return the actor, its key and when it signed, if the activity's own proof holds."""
        actor, now = await self._actors.get(actor_id), self._instance.clock()
        try:
            return actor, *verify_activity(document, actor, now)
        except BadProof as error:
            actor = await self._again(actor, error)
            return actor, *verify_activity(document, actor, now)

    async def page_of(self, document: JsonObject, actor: RemoteActor) -> VerifiedPage:
        """Return the page, if it is one of the feed `actor`; raises as `verify_page` does."""
        try:
            return await self._verify_page(document, actor)
        except BadProof as error:
            return await self._verify_page(document, await self._again(actor, error))

    async def document_of(
        self,
        document: JsonObject,
        actor: RemoteActor,
        verify: Callable[[JsonObject, RemoteActor, int], T],
    ) -> T:
        """Return what `verify` makes of a document that the feed `actor` signed; raises as it."""
        now = self._instance.clock()
        try:
            return await asyncio.to_thread(verify, document, actor, now)
        except BadProof as error:
            again = await self._again(actor, error)
            return await asyncio.to_thread(verify, document, again, now)

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
        """Fetch the actor once more, once for all who wait; `error` stands where that fails."""
        lock = self._locks.setdefault(actor.id, asyncio.Lock())
        waited = lock.locked()
        async with lock:
            try:
                return await self._actors.refetch(actor.id)
            except FederationError:
                known = await self._actors.known(actor.id) if waited else None
        if known is None:
            raise error
        return known

    def _check(self, signed: SignedRequest, actor: RemoteActor) -> VerifiedSender:
        return check_sender(signed, actor, self._instance.clock(), self._instance.base)
