"""The address guard: makes the sockets of the outbound client, and only to public hosts.

It sees the address that the socket will go to, after every lookup, for names and literals alike;
so a name that changes its address, or a redirect, gains nothing. Which addresses are public is
decided in `address.py`.
"""

import socket
from typing import Any

from federation.outbound.address import is_public


class NotPublic(OSError):
    """The socket would go to an address that is not public."""


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make the socket for one `getaddrinfo` row, unless its address is not public."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        message = "not a public address"
        raise NotPublic(message)
    return socket.socket(family=family, type=kind, proto=protocol)
