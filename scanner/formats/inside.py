"""Says what a file holds beside its picture: never abuse, never part of a decision.

`appended-data`: something behind the end of the picture that nobody has judged. Padding is not
reported, nor are the further pictures that a multi-picture JPEG declares (phones write them:
gain maps, stereo pairs), nor the short trailers of Samsung phones in which nothing is found; the
film of a motion photo is. `polyglot`: an archive, script, program, document or further picture
there or in comments and metadata, or a zip archive laid over the whole file. Previews in EXIF
are usual and not reported. `type-mismatch`: the name or media type that the file came with
claims another kind. Bounded: looks at no more than some megabytes of each part.
"""

from enum import StrEnum

from scanner.formats.layout import Note, layout
from scanner.formats.media_types import is_mismatch
from scanner.formats.signatures import holds_zip, is_more

PADDING = b"\0\xff\t\n\r "
SAMSUNG_START, SAMSUNG_END = b"SEFH", b"SEFT"
SAMSUNG_BYTES = 1 << 16
"""Bytes of a trailer of a Samsung phone that is taken for the usual one."""


class Inside(StrEnum):
    """What a file holds beside its picture."""

    APPENDED_DATA = "appended-data"
    POLYGLOT = "polyglot"
    TYPE_MISMATCH = "type-mismatch"


def inside(data: bytes, media_type: str, name: str | None = None) -> tuple[Inside, ...]:
    """Return the findings on a file of a known type, sorted; never raises."""
    parts = layout(data, media_type)
    tails = [tail for tail in parts.tails if tail.strip(PADDING)]
    more = _is_more(parts.notes, tails) or holds_zip(data)
    found = {
        Inside.APPENDED_DATA: any(more or not _is_samsung(tail) for tail in tails),
        Inside.POLYGLOT: more,
        Inside.TYPE_MISMATCH: name is not None and is_mismatch(media_type, name),
    }
    return tuple(sorted(finding for finding, holds in found.items() if holds))


def _is_more(notes: list[Note], tails: list[bytes]) -> bool:
    """Tell whether notes or tails hold something else, all of a kind looked at in one go."""
    usual = b"\0".join(note.data for note in notes if note.usual_pictures)
    other = b"\0".join(note.data for note in notes if not note.usual_pictures)
    return (
        is_more(usual, usual_pictures=True)
        or is_more(other, usual_pictures=False)
        or any(is_more(tail, usual_pictures=False) for tail in tails)
    )


def _is_samsung(tail: bytes) -> bool:
    """Tell whether a tail is the short trailer that Samsung phones write: times and the like."""
    return len(tail) <= SAMSUNG_BYTES and tail.endswith(SAMSUNG_END) and SAMSUNG_START in tail
