"""Receiving: every check in the order of the design, then one row stored, then 202.

Decides what is taken down, and acts on nothing; acting comes later, from `queue.py`. The order,
cheapest first:

    size and content type (`routes.py` reads no more than the limit) -> strict parse ->
    blocked domain -> wrong signatures of that network in that name -> signed at all ->
    sender known (only a Follow from an unknown one may cause a key fetch; all strangers share a
    quota) -> signature, signer is the actor, same origin -> quota of the peer ->
    asked for (`expecting.py`) -> proof of an inline page verified ->
    de-duplicate on (actor, id) -> row stored

Actors that we have to do with by their own wish alone (a Follow that the admin has not approved)
take a quarter of the rows that may wait, for what they send may never be acted on.

What is refused costs no write, and no read up to the signature but a bounded number; of it only
a count stays (`refusals.py`). What a flood may take from others is decided in `shedding.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, func, select

from cache.storage.database import Store
from cache.storage.feed_tables import inbox, is_received
from cache.storage.rows import insert_into
from federation.errors import (
    BadProof,
    BadSignature,
    FederationError,
    PastQuota,
    TooManyRequests,
    UnknownSender,
)
from federation.following.followers import own_feed
from federation.instance import Instance
from federation.origin import origin_of
from federation.outbound.blocking import Blocks
from federation.receiving.bodies import Bodies
from federation.receiving.expecting import is_expected
from federation.receiving.known import PEERS, KnownActors, is_peer
from federation.receiving.network import network_of
from federation.receiving.refusals import Refusals
from federation.receiving.sender import is_signed, sender_of
from federation.receiving.shedding import SHARES, Shedding
from federation.receiving.signed import SignedActivity
from federation.settings import FederationSettings
from federation.signing.identity import Scheme
from federation.signing.request import Request
from federation.signing.verifying import Verifier
from federation.wire.activity import (
    Activity,
    CreatePage,
    DeleteActor,
    Follow,
    Ignored,
    UndoFollow,
    UpdateActor,
    parse_activity,
)
from federation.wire.activity_proof import has_proof
from federation.wire.strictjson import JsonObject, parse, refuse_crumbs

RECEIVED = "received"
FOLLOWS_KEPT = 100
"""Follow and Undo of one origin in `inbox_keep_seconds`, which is how long their rows are kept."""


class Inbox:
    """Takes down what peers send; `bodies` are the places for those on their way in."""

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        instance: Instance,
        settings: FederationSettings,
        blocks: Blocks,
    ) -> None:
        self._blocks = blocks
        self._store = store
        self._verifier = verifier
        self._instance = instance
        self._settings = settings
        self._known = KnownActors(store, settings.poll_seconds)
        self._shedding = Shedding(settings, instance.clock)
        self._refusals = Refusals()
        self.bodies = Bodies(settings.bodies_at_once)

    @property
    def refusals(self) -> Counter[str]:
        """How many were refused, by the cause's name."""
        return self._refusals.counts

    def network_of(self, address: str | None, forwarded: Sequence[str]) -> str | None:
        """Return which network a request came from, as far as our proxies tell."""
        return network_of(address, forwarded, self._settings.proxies)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is refused within the block."""
        try:
            yield
        except FederationError as error:
            self._refusals.note(error)
            raise

    async def receive(self, request: Request, network: str | None = None) -> None:
        """Take down an activity, or raise the `FederationError` that refuses it."""
        limit, http = self._settings.activity_bytes, self._settings.allow_private_addresses
        refuse_crumbs(request.body)
        document = parse(request.body, limit)
        activity = parse_activity(document, allow_http=http)
        await self._blocks.refuse(activity.actor)
        if isinstance(activity, Ignored):
            return
        signed = await self._verified(request, document, activity, network)
        if signed is None:
            return
        is_by_proof = signed.sender.scheme is Scheme.PROOF
        size, origin = len(request.body), signed.actor.origin
        self._shedding.take(network, origin, size, is_by_proof=is_by_proof)
        if not await self._store.read(is_expected, self._instance, self._settings, signed):
            return
        if isinstance(activity, CreatePage):
            await self._verifier.page_of(activity.page, signed.actor)
        await self._store.write(
            take_down, signed, request.body, self._instance.clock, self._settings
        )

    async def _verified(
        self, request: Request, document: JsonObject, activity: Activity, network: str | None
    ) -> SignedActivity | None:
        """Return who sent it, or None where that makes no difference.

        What an actor says of itself is 202 whether it was verified or not, as it is of strangers:
        else the answer told whom we know.
        """
        try:
            return await self._verify(request, document, activity, network)
        except (BadSignature, BadProof, PastQuota) as error:
            if not isinstance(activity, UpdateActor | DeleteActor):
                raise
            self._refusals.note(error)
            return None

    async def _verify(
        self, request: Request, document: JsonObject, activity: Activity, network: str | None
    ) -> SignedActivity | None:
        origin, is_known = origin_of(activity.actor), False
        self._shedding.check_forger(network, origin)
        try:
            self._check_cheaply(request, document, activity)
            is_known = await self._known.has(activity.actor)
            if not is_known and not self._is_let_in(activity, network):
                return None
            now = self._instance.clock()
            sender = await sender_of(self._verifier, request, document, activity.actor, now)
            return SignedActivity(activity, sender)
        except (BadSignature, BadProof):
            self._shedding.note_wrong(network, origin)
            if is_known and isinstance(activity, Follow):
                self._shedding.take_stranger(network)  # as if unknown, for the answer must not tell
            raise

    def _check_cheaply(self, request: Request, document: JsonObject, activity: Activity) -> None:
        """Refuse what is not signed at all, and a Follow of what is no feed of ours."""
        is_of_itself = isinstance(activity, UpdateActor | DeleteActor)
        if not is_of_itself and not is_signed(request) and not has_proof(document):
            message = f"what claims to be of {activity.actor} is not signed"
            raise BadSignature(message)
        if isinstance(activity, Follow):
            own_feed(self._instance, activity.object)

    def _is_let_in(self, activity: Activity, network: str | None) -> bool:
        """Let a stranger in with a Follow alone; what we would ignore anyway costs nothing."""
        if isinstance(activity, UpdateActor | DeleteActor):
            return False  # servers tell everybody about every actor
        if not isinstance(activity, Follow):
            message = f"{activity.actor} is nobody that we have to do with"
            raise UnknownSender(message)
        self._shedding.take_stranger(network)
        return True


def take_down(
    conn: Connection,
    signed: SignedActivity,
    body: bytes,
    clock: Callable[[], int],
    settings: FederationSettings,
) -> None:
    """Store the activity once; raises `TooManyRequests` when too many rows wait already."""
    activity, origin = signed.activity, signed.actor.origin
    if isinstance(activity, UpdateActor | DeleteActor) and _waits(conn, activity):
        return
    is_theirs = inbox.c.origin == origin
    if not is_peer(conn, origin):
        of_strangers = is_received & inbox.c.origin.not_in(PEERS)
        limit = max(1, settings.inbox_rows // SHARES)
        _check_room(conn, of_strangers, limit, "activities of strangers wait")
    _check_room(conn, is_received, settings.inbox_rows, "activities wait to be acted on")
    _check_room(
        conn, is_received & is_theirs, settings.inbox_rows_per_host, f"activities of {origin} wait"
    )
    if isinstance(activity, Follow | UndoFollow):  # else one could follow and undo without end
        kinds = inbox.c.kind.in_((Follow.__name__, UndoFollow.__name__))
        _check_room(conn, is_theirs & kinds, FOLLOWS_KEPT, f"Follow and Undo came from {origin}")
    row = insert_into(conn, inbox).values(
        origin=origin,
        activity_id=activity.id,
        actor_id=activity.actor,
        kind=type(activity).__name__,
        body=body.decode(),
        received=clock(),
        state=RECEIVED,
    )
    same = ["origin", "actor_id", "activity_id"]  # an actor cannot use up the ids of its neighbour
    conn.execute(row.on_conflict_do_nothing(index_elements=same))


def _waits(conn: Connection, activity: UpdateActor | DeleteActor) -> bool:
    """Tell whether an actor said the same of itself before, which is not acted on yet."""
    c, kind = inbox.c, type(activity).__name__
    theirs = (c.origin == origin_of(activity.actor)) & (c.actor_id == activity.actor)
    same = select(c.id).where(is_received, theirs, c.kind == kind).limit(1)
    return conn.execute(same).first() is not None


def _check_room(conn: Connection, which: ColumnElement[bool], limit: int, what: str) -> None:
    count = conn.scalar(select(func.count()).select_from(inbox).where(which)) or 0
    if count >= limit:
        message = f"{count} {what} already"
        raise TooManyRequests(message)
