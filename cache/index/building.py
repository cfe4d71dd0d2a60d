"""Builds a segment from entries: orders them, makes equal codes one, and lays out the bands."""

import numpy as np
from numpy.typing import NDArray

from cache.index.bands import BANDS, KEYS
from cache.index.entries import Entries
from cache.index.segment import Segment
from cache.index.words import Integers, Words

MAX_CODES = 1 << 31
"""Codes in one segment; positions are 32 bits wide."""


def build(entries: Entries, crowded: Words | None = None) -> Segment:
    """Return a segment of the entries; `crowded` codes stand for several of one owner."""
    if len(entries) >= MAX_CODES:
        raise ValueError(f"An index holds fewer than {MAX_CODES:,} codes.")
    entries = entries.at(_order(entries))
    first = np.flatnonzero(_is_first(entries.codes))
    folded = len(first) < len(entries)
    codes = entries.codes.take(first, axis=0) if folded else entries.codes
    starts = np.append(first, len(entries)) if folded else np.zeros(0)
    offsets, rows = _bands(codes)
    return Segment(
        codes,
        offsets,
        rows,
        starts.astype(np.uint32),
        narrowed(entries.ids),
        narrowed(entries.image_ids),
        narrowed(entries.owners),
        _places(codes, crowded),
    )


def narrowed(values: Integers) -> NDArray[np.unsignedinteger]:
    """Return the values (0 or more) in the narrowest type that holds them all."""
    most = int(values.max(initial=0))
    kind = next(
        kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if most <= np.iinfo(kind).max
    )
    return values.astype(kind)


def _is_first(codes: Words) -> NDArray[np.bool_]:
    """Tell which ordered codes differ from the one before."""
    is_first = np.ones(len(codes), dtype=np.bool_)
    is_first[1:] = codes[1:, 0] != codes[:-1, 0]
    tied = np.flatnonzero(~is_first)
    is_first[tied] = (codes.take(tied, axis=0) != codes.take(tied - 1, axis=0)).any(axis=1)
    return is_first


def _order(entries: Entries) -> Integers:
    """Return the order by code, then owner, then id.

    By the first word, and only where those are equal by all: random codes differ in it.
    """
    first_words = np.ascontiguousarray(entries.codes[:, 0])
    order = np.argsort(first_words)
    ordered = first_words[order]
    tied = np.zeros(len(order), dtype=np.bool_)
    same = ordered[1:] == ordered[:-1]
    tied[1:] |= same
    tied[:-1] |= same
    if tied.any():
        some = order[tied]
        words = entries.codes[some].T
        by = np.lexsort((entries.ids[some], entries.owners[some], *words[:0:-1], words[0]))
        order[tied] = some[by]
    return order


def _bands(codes: Words) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return for every band where each key begins, and the rows in the order of their keys."""
    offsets = np.zeros((BANDS, KEYS + 1), dtype=np.uint32)
    rows = np.empty((BANDS, len(codes)), dtype=np.uint32)
    keys = codes.view(np.uint16)
    for band in range(BANDS):
        of_band = np.ascontiguousarray(keys[:, band])
        rows[band] = np.argsort(of_band, kind="stable")  # 16 bits: a radix sort
        np.cumsum(np.bincount(of_band, minlength=KEYS), out=offsets[band, 1:])
    return offsets.reshape(-1), rows.reshape(-1)


def _places(codes: Words, wanted: Words | None) -> NDArray[np.uint32]:
    """Return where the wanted codes stand, as far as they do."""
    if wanted is None or not len(wanted):
        return np.zeros(0, dtype=np.uint32)
    keys = {code.tobytes() for code in wanted}
    maybe = np.flatnonzero(np.isin(codes[:, 0], wanted[:, 0]))
    return np.array([i for i in maybe if codes[i].tobytes() in keys], dtype=np.uint32)
