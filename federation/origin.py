"""One spelling for origins and URLs, so that two names of one host never look like two hosts.

Decides which URLs are taken at all and what their canonical form is (RFC 3986 section 6, with
the WHATWG rule that a host which ends in a number is an IPv4 address). Whether the address
behind a host may be asked is left to the address guard.
"""

import ipaddress
import string
from typing import NewType
from urllib.parse import urlsplit

from federation.errors import BadRequest, WrongOrigin

Origin = NewType("Origin", str)
"""`https://host[:port]`, canonical: lower case, no default port, no path."""

Url = NewType("Url", str)
"""An absolute http(s) URL in canonical form."""

MAX_URL_LENGTH = 2_048  # characters
_PORTS = {"http": 80, "https": 443}
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_URL_CHARACTERS = _UNRESERVED | frozenset(":/?#[]@!$&'()*+,;=%")
_LABEL_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "-")


def parse_url(text: str, *, allow_http: bool = False) -> Url:
    """Return the canonical form of `text`, or raise `BadRequest`.

    Host in lower case without trailing dot, no default port, percent-encoding in upper case and
    only where needed. Refused: user information, host names that are not ASCII (write their
    xn-- form), dot segments, and http unless `allow_http`.
    """
    if len(text) > MAX_URL_LENGTH:
        raise BadRequest(f"a URL has more than {MAX_URL_LENGTH} characters")
    if not _URL_CHARACTERS.issuperset(text):
        raise BadRequest("a URL has characters that must be percent-encoded, or xn-- for a host")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadRequest("the URL cannot be read") from error
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise BadRequest("the URL does not start with https://")
    if parts.scheme + "://" != text[: len(parts.scheme) + 3].lower() or "@" in parts.netloc:
        raise BadRequest("the URL names no host, or a user")
    netloc = _netloc(parts.scheme, parts.netloc, port)
    path = _normal_path(_normal_escapes(parts.path))
    return Url(f"{parts.scheme}://{netloc}{path}{_tail(text)}")


def exact_url(value: object, *, allow_http: bool = False) -> Url:
    """Return a URL that a document names, which must stand there in canonical form."""
    if not isinstance(value, str):
        raise BadRequest("a URL is missing, or not a string")
    url = parse_url(value, allow_http=allow_http)
    if url != value:
        raise WrongOrigin(f"the URL is not in canonical form, which is {url}")
    return url


def parse_origin(text: str, *, allow_http: bool = False) -> Origin:
    """Return the origin that `text` names, e.g. the instance's base URL; a path is refused."""
    url = parse_url(text, allow_http=allow_http)
    origin = origin_of(url)
    if url not in (origin, origin + "/"):
        raise BadRequest(f"only {origin} names an origin, without path or query")
    return origin


def origin_of(url: Url) -> Origin:
    """Return the origin of a canonical URL (RFC 6454)."""
    scheme, rest = url.split("://", 1)
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    return Origin(f"{scheme}://{rest[:end]}")


def same_origin(*urls: Url) -> bool:
    """Return whether all these URLs share scheme, host and port."""
    return len({origin_of(url) for url in urls}) <= 1


def netloc_of(origin: Origin) -> str:
    """Return `host[:port]`, as it stands in a Host header and in a handle."""
    return origin.split("://", 1)[1]


def _netloc(scheme: str, netloc: str, port: int | None) -> str:
    host = _host(netloc)
    if netloc.endswith(":") or port == 0:
        raise BadRequest("the URL has a wrong port")
    return host if port in (None, _PORTS[scheme]) else f"{host}:{port}"


def _host(netloc: str) -> str:
    if netloc.startswith("["):
        return _ipv6(netloc)
    host = netloc.partition(":")[0].lower().removesuffix(".")
    labels = host.split(".")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        return _ipv4(host)
    if len(host) > 253 or not all(map(_is_label, labels)):
        raise BadRequest("the URL has a wrong host name")
    return host


def _is_label(label: str) -> bool:
    edges = label[:1] + label[-1:]
    return 0 < len(label) <= 63 and _LABEL_CHARACTERS.issuperset(label) and "-" not in edges


def _ipv4(host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise BadRequest("an IPv4 address is written as four decimal numbers") from error


def _ipv6(netloc: str) -> str:
    text, end, rest = netloc[1:].partition("]")
    if not end or (rest and not rest.startswith(":")) or "%" in text:
        raise BadRequest("the URL has a wrong IPv6 address")
    try:
        return f"[{ipaddress.IPv6Address(text)}]"
    except ValueError as error:
        raise BadRequest("the URL has a wrong IPv6 address") from error


def _tail(text: str) -> str:
    """Return query and fragment, marks included, with normal percent-encoding."""
    start = min((text.find(mark) for mark in "?#" if mark in text), default=len(text))
    return _normal_escapes(text[start:])


def _normal_path(path: str) -> str:
    if any(segment in (".", "..") for segment in path.split("/")):
        raise BadRequest("the URL has dot segments")
    return path


def _normal_escapes(text: str) -> str:
    """Decode escapes of unreserved characters and write the others in upper case."""
    first, *rest = text.split("%")
    return first + "".join(_escape(part[:2]) + part[2:] for part in rest)


def _escape(digits: str) -> str:
    if len(digits) != 2 or not set(digits) <= set(string.hexdigits):
        raise BadRequest("the URL has a wrong percent-encoding")
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else f"%{digits.upper()}"
