"""The doctor for oneself: looks at this instance as peers do, by its public URL.

It needs no other machine, so it cannot see what only others do: a firewall that lets this machine
through, another answer of the DNS. What it sends changes nothing anywhere.
"""

import asyncio
import secrets
import socket
from urllib.parse import quote, urlsplit

from federation import addresses
from federation.actors import nodeinfo
from federation.actors.webfinger import build_webfinger
from federation.checking import judging, own_judging
from federation.checking.looking import Look, Looker, NoAnswer
from federation.checking.result import Check, Name, skipped
from federation.instance import Instance
from federation.origin import Url, netloc_of
from federation.outbound.media import Kind
from federation.wire.composing import build_follow
from federation.wire.strictjson import to_bytes

_AFTER_ANSWER = (
    Name.WEBFINGER,
    Name.WEBFINGER_ORIGIN,
    Name.ACTOR,
    Name.NODEINFO,
    Name.HOST_META,
    Name.CLOCK,
    Name.PROXY,
)
_PORTS = {"https": 443, "http": 80}
RESOLVE_SECONDS = 10


class OwnDoctor:
    """Checks this instance from outside."""

    def __init__(self, looker: Looker, instance: Instance) -> None:
        self._looker = looker
        self._instance = instance
        self._allow_private = looker.settings.allow_private_addresses
        self._bytes = looker.settings.document_bytes

    async def check(self) -> list[Check]:
        """Return what is to be said of us, in the order in which it is best mended."""
        base, private = self._instance.base, self._allow_private
        host = urlsplit(base).hostname or ""
        checks = [
            own_judging.judge_own_keys(_in_use(self._instance), self._instance.retired),
            own_judging.judge_base_url(base, allow_private=private),
            own_judging.judge_dns(host, await _resolve(base), allow_private=private),
        ]
        first = await self._looker.get(self._instance.id, Kind.ACTIVITY)
        checks.append(judging.judge_reachable(first))
        if isinstance(first, NoAnswer) or self._instance.retired is not None:
            ended = "this instance was retired, and answers 410"
            why = ended if self._instance.retired else "it is not reached by its public URL"
            return [*checks, *(skipped(name, why) for name in _AFTER_ANSWER)]
        return [
            *checks,
            *await self._webfinger(),
            *await self._actors(),
            *await self._host(first),
            await self._proxy(),
        ]

    async def _webfinger(self) -> list[Check]:
        base = self._instance.base
        handles = [f"acct:{name}@{netloc_of(base)}" for name in _names()]
        checks = []
        for resource in (*handles, base):
            where = f"{base}/.well-known/webfinger?resource={quote(resource, safe='')}"
            look = await self._looker.get(Url(where), Kind.JRD)
            document = judging.read_document(look, Kind.JRD, self._bytes)
            expected = build_webfinger(resource, base)
            of = resource.removeprefix("acct:")
            checks.append(own_judging.judge_own_webfinger(document, expected, of))
        return checks

    async def _actors(self) -> list[Check]:
        checks = []
        for name in _names():
            look = await self._looker.get(self._instance.id_of(name), Kind.ACTIVITY)
            document = judging.read_document(look, Kind.ACTIVITY, self._bytes)
            expected = self._instance.document(name)
            checks.append(own_judging.judge_own_actor(document, expected, name))
            if not isinstance(document, str):
                checks.append(judging.judge_content_type(look, name))
        return checks

    async def _host(self, first: Look) -> list[Check]:
        base, http = self._instance.base, self._allow_private
        links = await self._looker.get(Url(f"{base}/.well-known/nodeinfo"), Kind.NODEINFO)
        told = judging.read_document(links, Kind.NODEINFO, self._bytes)
        look = await self._looker.get(Url(f"{base}{nodeinfo.PATH}"), Kind.NODEINFO)
        document = judging.read_document(look, Kind.NODEINFO, self._bytes)
        host_meta = await self._looker.get(Url(f"{base}/.well-known/host-meta"), Kind.NODEINFO)
        return [
            judging.judge_nodeinfo(told, document, self._instance.id, http=http),
            judging.judge_host_meta(host_meta),
            judging.judge_clock([first, links], self._looker.clock()),
        ]

    async def _proxy(self) -> Check:
        """Send a Follow that nobody signed: it must arrive, and be refused."""
        instance = self._instance
        follow_id = f"{instance.id}/follows/{secrets.token_hex(16)}"
        activity = build_follow(follow_id, instance.id, instance.id_of("clean"))
        inbox = addresses.shared_inbox_url(instance.base)
        return own_judging.judge_proxy(await self._looker.post_unsigned(inbox, to_bytes(activity)))


def _names() -> tuple[str, ...]:
    return (addresses.INSTANCE_NAME, *addresses.FEEDS)


def _in_use(instance: Instance) -> list[str]:
    return ["http", *(addresses.FEED_NAMES[feed] for feed in instance.keys.proof)]


async def _resolve(base: str) -> list[str] | str:
    """Return the addresses of a host, or why there are none."""
    parts = urlsplit(base)
    port = parts.port or _PORTS[parts.scheme]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"no answer of the DNS within {RESOLVE_SECONDS} s"
    except OSError as error:
        return error.strerror or "the name is not known"
    return sorted({str(row[4][0]) for row in found})
