"""Fetches the documents of followed feeds, each from its own id, signed by the instance actor.

Decides what one turn of one feed may cost (`Budget`), and that a document is the one asked for and
proves itself. What is asked for next is decided in `catching_up`.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from federation.actors.remote_actor import RemoteActor
from federation.addresses import page_url, run_url, snapshot_url
from federation.client import AnsweredWith, Client
from federation.errors import BadActor, BadPage
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.media import Kind
from federation.settings import FederationSettings
from federation.signing.verifying import Verifier
from federation.wire.feed_head import VerifiedHead, verify_head
from federation.wire.merged import VerifiedRun, verify_merged
from federation.wire.outbox import OutboxHead, parse_outbox
from federation.wire.page import VerifiedPage, verify_page
from federation.wire.snapshot import VerifiedManifest, VerifiedPart, parse_part, verify_manifest
from federation.wire.strictjson import JsonObject, parse

MISSING: Final = (404, 410)
"""HTTP statuses of what a feed does not have, or does not have any more."""


@dataclass(slots=True)
class Budget:
    """What is left of one turn: documents, decoded bytes, and its end by the loop's clock."""

    documents: int
    octets: int
    ends: float

    @property
    def is_spent(self) -> bool:
        """Tell whether others shall have their turn."""
        now = asyncio.get_running_loop().time()
        return self.documents <= 0 or self.octets <= 0 or now >= self.ends

    def spend(self, octets: int) -> None:
        """Count a document."""
        self.documents -= 1
        self.octets -= octets


@dataclass(frozen=True, slots=True)
class Manifest:
    """A verified manifest, and the document that it was verified of."""

    verified: VerifiedManifest
    document: JsonObject


class Fetcher:
    """Fetches what one feed has within the budget of one turn."""

    def __init__(
        self,
        actor: RemoteActor,
        budget: Budget,
        client: Client,
        verifier: Verifier,
        instance: Instance,
        settings: FederationSettings,
    ) -> None:
        self.actor, self.budget = actor, budget
        self._client, self._verifier = client, verifier
        self._instance, self._settings = instance, settings

    async def outbox(self) -> OutboxHead | None:
        """Return what the outbox says, or None while nothing was ever sealed."""
        if self.actor.outbox is None:
            message = f"{self.actor.id} has no outbox"
            raise BadActor(message)
        _, document = await self._get(self.actor.outbox, self._settings.document_bytes)
        return parse_outbox(document, self.actor.id, self.actor.outbox)

    async def head(self, document: JsonObject) -> VerifiedHead:
        """Return the head that an outbox shows; raises a `FederationError` for a false one."""
        return await self._verifier.document_of(document, self.actor, verify_head)

    async def page(self, epoch: str, page: int) -> VerifiedPage:
        """Return one page; raises `AnsweredWith` where there is none."""
        url = page_url(self.actor.id, epoch, page)
        document = await self._at(url)
        return await self._verifier.document_of(document, self.actor, verify_page)

    async def merged(self, epoch: str, first: int, last: int) -> VerifiedRun | None:
        """Return the run of merged pages that holds page `first`, or None where there is none.

        `last` is a guess: for another run than the one asked for the feed redirects to it.
        """
        url = run_url(self.actor.id, epoch, first, last)
        try:
            at, document = await self._get(url, self._settings.page_bytes)
        except AnsweredWith as error:
            if error.code in MISSING:
                return None
            raise
        run = await self._verifier.document_of(document, self.actor, verify_merged)
        pages = [page.head.page for page in run.pages]
        if document.get("id") != at or run.pages[0].head.epoch != epoch or first not in pages:
            message = f"{at} answers with other pages than page {first} of epoch {epoch}"
            raise BadPage(message)
        return run

    async def manifest(self) -> Manifest:
        """Return the manifest of the feed's newest snapshot."""
        document = await self._at(snapshot_url(self.actor.id))
        return await self.verified(document)

    async def verified(self, document: JsonObject) -> Manifest:
        """Return a manifest, also one that was fetched earlier, unless its key was revoked."""
        found = await self._verifier.document_of(document, self.actor, verify_manifest)
        return Manifest(found, document)

    async def part(self, manifest: Manifest, number: int) -> VerifiedPart:
        """Return a part (from 1) of a snapshot, if it is the one that the manifest names."""
        named = manifest.verified.snapshot.parts[number - 1]
        document = await self._at(Url(named.id))
        return await asyncio.to_thread(parse_part, document, manifest.verified, number)

    async def _at(self, url: Url) -> JsonObject:
        """Return the document whose id is `url`."""
        _, document = await self._get(url, self._settings.page_bytes)
        if document.get("id") != url:
            message = f"{url} answers with another document"
            raise BadPage(message)
        return document

    async def _get(self, url: Url, limit: int) -> tuple[Url, JsonObject]:
        answer = await self._client.get(url, Kind.ACTIVITY, limit, self._instance.id)
        self.budget.spend(len(answer.body))
        return answer.url, await asyncio.to_thread(parse, answer.body, limit)
