"""How a dispute names attestations: by their ids, `/attestations/<feed>/<seq>?epoch=<epoch>`.

Decides which texts are such ids of an origin; whether there is, or was, such a row is decided by
whoever looks for it. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cache.verdict import Feed
from federation.addresses import FEED_NAMES, attestation_url
from federation.origin import Origin
from federation.wire.epoch import is_epoch

_MAX_SEQ_DIGITS: Final = 15  # 2^53 has 16


@dataclass(frozen=True, slots=True)
class AttestationName:
    """The place of a row: its feed, epoch and number."""

    feed: Feed
    epoch: str
    seq: int


def names_of(base: Origin, texts: Iterable[str]) -> list[AttestationName]:
    """Return what of `texts` are ids of attestations of `base`, each once, in their order."""
    found = (parse_name(base, text) for text in texts)
    return list(dict.fromkeys(name for name in found if name is not None))


def parse_name(base: Origin, text: str) -> AttestationName | None:
    """Return the attestation of `base` that `text` is the id of; only the one spelling counts."""
    for feed, feed_name in FEED_NAMES.items():
        prefix = f"{base}/attestations/{feed_name}/"
        if text.startswith(prefix):
            seq, _, epoch = text.removeprefix(prefix).partition("?epoch=")
            return _name(base, feed, seq, epoch, text)
    return None


def _name(base: Origin, feed: Feed, seq: str, epoch: str, text: str) -> AttestationName | None:
    if not (seq.isascii() and seq.isdigit() and len(seq) <= _MAX_SEQ_DIGITS and is_epoch(epoch)):
        return None
    name = AttestationName(feed, epoch, int(seq))
    is_id = name.seq > 0 and attestation_url(base, feed, epoch, name.seq) == text
    return name if is_id else None
