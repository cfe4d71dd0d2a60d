"""Doctors that ask over loopback."""

import pytest
from aiohttp import web

from federation.actors import nodeinfo, webfinger
from federation.checking.looking import Looker
from federation.checking.oneself import OwnDoctor
from federation.checking.peer import PeerDoctor
from federation.checking.result import Check
from federation.wire.times import to_http_date
from tests.fakes.peer import reply


def looker(ours):
    parts = ours.federation
    return Looker(parts.client, ours.settings, parts._instance.id, ours.clock)


@pytest.fixture
async def peer(peer):
    """The fake peer, with NodeInfo, without host-meta, and with the time of its own clock."""

    async def links(_request):
        return reply(nodeinfo.build_links(peer.base), "application/json")

    async def document(_request):
        return reply(nodeinfo.build_nodeinfo(peer.base, "1.0"), "application/json")

    async def nothing(_request):
        return web.Response(status=404)

    async def handle(request):
        resource = request.query["resource"]
        answer = reply(webfinger.build_webfinger(resource, peer.base), "application/jrd+json")
        answer.headers["Date"] = to_http_date(peer.clock())
        return answer

    peer.answers["/.well-known/nodeinfo"] = links
    peer.answers[nodeinfo.PATH] = document
    peer.answers["/.well-known/host-meta"] = nothing
    peer.answers["/.well-known/webfinger"] = handle
    return peer


@pytest.fixture
def diagnose(ours):
    """Check a peer (or ourselves, for None) and return outcome and words by the check's name."""

    async def run(name=None):
        if name is None:
            checks = await OwnDoctor(looker(ours), ours.federation._instance).check()
        else:
            checks = await PeerDoctor(looker(ours), ours.store).check(name)
        found: dict[str, Check] = {}
        for one in checks:
            assert one.outcome in ("ok", "skipped") or one.todo, one  # what to do is said
            worst = max(
                [one, *([found[one.name.value]] if one.name.value in found else [])], key=_bad
            )
            found[one.name.value] = worst
        return found

    return run


def _bad(check):
    return ["skipped", "ok", "warning", "failed"].index(check.outcome)
