"""This instance as peers meet it: its base URL, its actors, and how it signs requests.

All three actors sign HTTP with the one RSA key, each under a key id of its own, so that the
signer of a request is always the actor that speaks in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cache.verdict import Feed
from federation import addresses
from federation.actors import actor
from federation.origin import Origin, Url
from federation.signing import cavage, message_signatures
from federation.signing.identity import Scheme
from federation.signing.keys import main_key_id
from federation.signing.keystore import OwnKeys
from federation.wire.strictjson import JsonObject


@dataclass(slots=True)
class Instance:
    """Where this instance stands and the keys it signs with; `clock` gives epoch seconds.

    `keys` and `retired` (when it ended for good) are what the database said last: a running
    `serve` looks every `poll_seconds` (`actors/announcing.py`), and nothing else changes them.
    """

    base: Origin
    keys: OwnKeys
    clock: Callable[[], int]
    retired: int | None = None

    @property
    def id(self) -> Url:
        """The instance actor, which follows peers and signs fetches."""
        return addresses.instance_url(self.base)

    def feed_id(self, feed: Feed) -> Url:
        """Return the actor of one of our feeds."""
        return addresses.feed_url(self.base, feed)

    def id_of(self, name: str) -> Url:
        """Return the id of `actor`, `clean` or `flagged`."""
        return self.id if name == addresses.INSTANCE_NAME else self.feed_id(addresses.FEEDS[name])

    def document(self, name: str) -> JsonObject:
        """Return the actor document of `actor`, `clean` or `flagged`."""
        public = self.keys.http.public_key()
        if name == addresses.INSTANCE_NAME:
            return actor.build_instance(self.base, public)
        feed = addresses.FEEDS[name]
        return actor.build_feed(self.base, feed, public, self.keys.shown[feed])

    def sign(
        self,
        actor_id: str,
        method: str,
        url: Url,
        body: bytes | None,
        scheme: Scheme = Scheme.CAVAGE,
    ) -> Mapping[str, str]:
        """Return the headers that sign a request of one of our actors."""
        rfc9421 = scheme is Scheme.RFC9421
        sign_request = message_signatures.sign_request if rfc9421 else cavage.sign_request
        key_id = main_key_id(actor_id)
        return sign_request(method, url, body, self.keys.http, key_id, self.clock())
