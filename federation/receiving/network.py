"""Which network a request came from, where that can be told.

Decides what a limit that strangers can reach is shared by, so that who floods from one network
takes nothing from the others. An IPv6 host has a whole /64 to itself, so that counts as one. None
means that it cannot be told: an address that is no public one is a reverse proxy, which speaks
for everybody (set `federation.proxies`, and the proxy tells whom it speaks for), or our own host.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from federation.outbound.address import is_public


def network_of(address: str | None, forwarded: Sequence[str], proxies: int) -> str | None:
    """Return the network that `address` speaks for, through so many proxies of ours.

    Each of them appends to X-Forwarded-For (`forwarded`, its lines) whom it heard from; what
    stands further left was written by strangers and is not believed.
    """
    hops = [hop.strip() for line in forwarded for hop in line.split(",")] if proxies else []
    hops.append(address or "")
    return _network(hops[-1 - proxies]) if len(hops) > proxies else None


def _network(address: str) -> str | None:
    if not is_public(address):
        return None
    parsed: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((int(parsed), 64), strict=False))
