"""Draws scanner/testcard.png anew, and prints what `cache.testcard` has to hold of it.

The file comes with the program: another zlib would write other bytes, and its SHA-256 is the
same on every installation. So this is run only when the card itself changes, which makes every
installation flag another file.
"""

from scanner.decoding.decode import read
from scanner.limits import Limits
from scanner.testcard import PATH, card_bytes, draw_test_card


def main() -> None:
    """Write the card, and print its fingerprints as hex."""
    draw_test_card().quantize(16).save(PATH, optimize=True)
    picture = read(card_bytes(), Limits())
    found = picture.fingerprint
    for name in ("sha256", "content", "pdq_quality", "phash"):
        value = getattr(found, name)
        print(name, value.hex() if isinstance(value, bytes) else value)
    print("\n".join(variant.hex() for variant in picture.pdq_variants))


if __name__ == "__main__":
    main()
