"""One spelling for the domains that an admin blocks, and which of them cover a host.

Decides what names a domain (`Bad.Example.`, `bücher.example`, an IP address) and how it is
written: lower case, no trailing dot, IDNA in its xn-- form, IPv6 without brackets. A domain
covers itself and everything below it. Pure.
"""

from collections.abc import Container, Iterator
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from yarl import URL

from federation.errors import BadRequest
from federation.origin import netloc_of, parse_origin

MAX_DOMAIN_CHARACTERS = 255
"""Of a domain as somebody writes it; a name in the DNS has at most 253."""


def parse_domain(text: str) -> str:
    """Return the domain that `text` names, in its one spelling; raises `BadRequest`."""
    name = text.strip()
    if not name or len(name) > MAX_DOMAIN_CHARACTERS:
        raise BadRequest(f"{name[:MAX_DOMAIN_CHARACTERS]!r} is no host; write e.g. social.example")
    try:
        netloc = netloc_of(parse_origin(f"https://{_ascii(name)}"))
    except BadRequest as error:
        raise BadRequest(f"{name!r} is no host; write e.g. social.example") from error
    if ":" in netloc and not netloc.endswith("]"):
        raise BadRequest(f"{name!r} names a port; a domain is blocked with all its ports")
    return _unmapped(netloc.strip("[]"))


def host_of(url: str) -> str:
    """Return the host of a URL or origin in the spelling of domains; "" where there is none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return ""
    return _unmapped((host or "").rstrip("."))


def above(host: str) -> Iterator[str]:
    """Return the host, then every domain above it: `a.b.c`, `b.c`, `c`."""
    yield host
    while "." in host:
        host = host.partition(".")[2]
        yield host


def covering(host: str, domains: Container[str]) -> str | None:
    """Return which of the domains covers the host, the nearest, or None."""
    return next((domain for domain in above(host) if domain and domain in domains), None)


def _unmapped(host: str) -> str:
    """Return the IPv4 address that an IPv6 one leads to (RFC 4291, 2.5.5.2), else the host."""
    try:
        return str(IPv6Address(host).ipv4_mapped or host)
    except ValueError:
        return host


def _ascii(name: str) -> str:
    """Return an international name in its xn-- form, anything else as it stands."""
    if name.isascii():
        return name
    try:
        return URL.build(scheme="https", host=name.rstrip(".。")).raw_host or ""
    except ValueError as error:
        raise BadRequest(f"{name!r} is no international domain name") from error
