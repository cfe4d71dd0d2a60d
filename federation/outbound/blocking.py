"""Which domains the admin has blocked.

Decides for one host whether it, or a domain above it, is blocked. It is asked wherever a peer
comes in (inbox, pages) and, in `client.py`, wherever we go out.
"""

from urllib.parse import urlsplit

from federation.errors import BlockedDomain


def refuse_blocked(url: str, blocked: tuple[str, ...]) -> None:
    """Raise `BlockedDomain` for a URL or origin of a blocked host, or of one below it."""
    host = urlsplit(url).hostname or ""
    for domain in blocked:
        if host == domain or host.endswith(f".{domain}"):
            message = f"{domain} is blocked"
            raise BlockedDomain(message)
