"""Knows the installation test card, and tells it from every other picture. Pure.

It is flagged everywhere and goes nowhere: every installation holds a finding for it (`seeding`),
no feed of ours ever names it (`publish`), and whoever counts leaves it out. The card itself comes
with the scanner (`scanner/testcard.py`); here stands what identifies it, and a test holds the two
against each other.
"""

from dataclasses import dataclass

RULE = "test-card"
"""What it is flagged for; no policy has a rule of this name."""

COPY_BITS = 31
"""PDQ distance up to which a picture counts as a copy of it, as in near matching."""


@dataclass(frozen=True, slots=True)
class Card:
    """The fingerprints of the card; fits `cache.verdict.FingerprintLike`."""

    sha256: bytes
    content: bytes
    pdq_quality: int
    phash: bytes
    variants: tuple[bytes, ...]

    @property
    def pdq(self) -> bytes:
        """The card's own PDQ, the first of the eight."""
        return self.variants[0]


CARD = Card(
    sha256=bytes.fromhex("c10533206494d51ff4e2816b35ef8d964c13c459873c6f13992dd1798cfbfa88"),
    content=bytes.fromhex("61583a757de967d05dd2c79cef2d5e842de980720afedd6fd042451fd0a9584f"),
    pdq_quality=100,
    phash=bytes.fromhex("c014d507647a90352aebfe3d028a733f4446489c0267f05a66316fb76ffa67e5"),
    variants=tuple(
        map(
            bytes.fromhex,
            (
                "5caf5173adfbe6bac4372d05f3209c89b111fe6720a09e3fabaa56042b137055",
                "334825ea36eb3c3aa55a52ab524e9b75b1289fbef270876cb1187baaf852122c",
                "09d9f919f82e0841036687a5a65534036444148d7df53695bcdefcae7a465aff",
                "6e8d9f1867be9680f03fe8034e1b33dfa47d6554af253dc6e44dd100a90f3886",
                "5caeae4cadfb5915c633f2f8f3206176b11101d828a06bc0eb8aa9fb2f138faa",
                "09fa0626f8aeb7ef11467850a775c9dc6444eb3275f5196afedd03517e462500",
                "3bd8da4536ebc3d5a55abd54125e668ab1286041fa787893b1188c55f85aedd3",
                "660c60a763be617ff02f07fc0e13cc20847d9aab2c25c239e04d2eff290fd771",
            ),
        )
    ),
)


def is_test_card(sha256: bytes | None, content: bytes | None = None) -> bool:
    """Tell whether these are the fingerprints of the card itself, whatever file holds it."""
    return sha256 == CARD.sha256 or content == CARD.content


def is_copy_of_test_card(pdq: bytes | None) -> bool:
    """Tell whether a picture looks like the card, turned or mirrored as well (PDQ, 32 bytes)."""
    if pdq is None or len(pdq) != len(CARD.pdq):
        return False
    code = int.from_bytes(pdq)
    return any((code ^ int.from_bytes(one)).bit_count() <= COPY_BITS for one in CARD.variants)
