"""Which part of a tree of folders a listing still owes: under a prefix, behind a cursor. Pure.

Keys are `/`-separated and come sorted name by name within each folder, so
`a/2` comes before `a.png`, and a cursor (a key) parts what was given from what was not without
looking at any file.
"""

DEPTH_MAX = 64
"""Folders within folders that are entered."""
KEY_BYTES_MAX = 2_048
"""Bytes of a key: PostgreSQL indexes no text of more than 2,704, S3 allows 1,024."""


class Wanted:
    """The keys that begin with `prefix` and come after `cursor`."""

    __slots__ = ("_after", "_prefix", "start")

    def __init__(self, cursor: str | None = None, prefix: str = "") -> None:
        self._prefix = prefix
        self._after = _parts(cursor) if cursor else ()
        self.start = _parts(prefix)[:-1]
        """The innermost folder that holds everything wanted."""

    def file(self, key: str) -> bool:
        """Tell whether a file is wanted."""
        return key.startswith(self._prefix) and (not self._after or _parts(key) > self._after)

    def folder(self, key: str) -> bool:
        """Tell whether a folder may hold wanted files; `key` without a `/` at its end."""
        inside = f"{key}/"
        if not (inside.startswith(self._prefix) or self._prefix.startswith(inside)):
            return False
        parts = _parts(key)
        return parts >= self._after[: len(parts)]


def _parts(key: str) -> tuple[str, ...]:
    return tuple(key.split("/"))


def is_key(key: str) -> bool:
    """Tell whether a key names something within the tree: no way up, out, or to nothing."""
    return not any(part in {"", ".", ".."} for part in key.split("/")) and "\0" not in key


def is_short(key: str) -> bool:
    """Tell whether a key can be stored: one is at most KEY_BYTES_MAX long, in UTF-8."""
    return len(key.encode(errors="surrogatepass")) <= KEY_BYTES_MAX


def is_text(name: str) -> bool:
    """Tell whether a name can be stored; bytes that are no UTF-8 come as surrogates."""
    return name.encode(errors="replace").decode() == name
