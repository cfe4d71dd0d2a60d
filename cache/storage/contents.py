"""How a content is found: by its first bytes, which make its index a small one.

Contents come in no order, so that nearly each of them dirties a page of its index: the fewer pages
there are, the more of them share one. What the first bytes find is compared whole, so that nothing
is taken for equal that is not. Whoever made a content up to begin as another does is no better off
than with that content itself, see `crowding`.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, and_, func, literal_column

KEY_BYTES = 8

_FIRST: ColumnElement[int] = literal_column("1")
_NUMBER: ColumnElement[int] = literal_column(str(KEY_BYTES))


def key_of(content: bytes) -> bytes:
    """Return the first bytes of a content, by which it is found."""
    return content[:KEY_BYTES]


def content_key(content: ColumnElement[Any]) -> ColumnElement[bytes]:
    """Return the same of a column; written out, for SQLite knows an index by its very words."""
    return func.substr(content, _FIRST, _NUMBER, type_=LargeBinary())


def same_content(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Tell whether two contents are equal, where `one` has the index."""
    return and_(content_key(one) == content_key(other), one == other)


def content_in(column: ColumnElement[Any], contents: Iterable[bytes]) -> ColumnElement[bool]:
    """Tell whether a content that has the index is one of these."""
    listed = list(contents)
    return and_(content_key(column).in_(sorted(set(map(key_of, listed)))), column.in_(listed))
