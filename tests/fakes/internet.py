"""An Internet in one process: names, public addresses and TLS, all leading to fakes on loopback.

What stands in for the world is what lies outside of us: the answers of DNS (`socket.getaddrinfo`),
the way from a public address to a machine (`sock_connect`), and the authorities that a
certificate is judged by. The client, its guard and its TLS are the real ones. A connection to an
address where no fake stands is written down in `went_to` and fails.
"""

import asyncio
import datetime
import functools
import socket
import ssl
import tempfile
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from federation import addresses
from federation.origin import Origin
from tests.fakes.peer import Peer


class Internet:
    """See the module; `own_port` is where the instance under test listens, reached as it is."""

    def __init__(self, monkeypatch):
        self.answers = {}  # host -> what each lookup says in turn; the last stays
        self.machines = {}  # public address -> port on loopback
        self.went_to = []
        self.looked_up = []
        self.own_port = None
        self._peers = []
        self._getaddrinfo = socket.getaddrinfo
        loop = asyncio.get_running_loop()
        self._connect = loop.sock_connect
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)
        monkeypatch.setattr(loop, "sock_connect", self._go)
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", _trusting())

    def name(self, host, *answers):
        """Let DNS answer for `host` (or `*.host`): each answer is a list of addresses."""
        self.answers[host] = list(answers)

    async def peer(self, clock, host, key="peer"):
        """Start a peer at `https://<host>` on a public address of its own."""
        address = f"93.184.216.{len(self._peers) + 1}"
        started = await FarPeer(clock, host, key).start()
        self._peers.append(started)
        self.machines[address] = started.port
        self.name(host, [address])
        started.address = address
        return started

    async def close(self):
        for peer in self._peers:
            await peer.stop()

    def _look_up(self, host, port, *args, **more):
        name = host.decode() if isinstance(host, bytes) else host
        if not isinstance(name, str) or self._told(name) is None:
            return self._getaddrinfo(host, port, *args, **more)
        self.looked_up.append(name)
        told = self._told(name)
        found = told.pop(0) if len(told) > 1 else told[0]
        return [_row(address, port) for address in found]

    def _told(self, name):
        """What DNS says of a name, by itself or by the wildcard above it."""
        return self.answers.get(name, self.answers.get(f"*.{name.partition('.')[2]}"))

    async def _go(self, sock, address):
        host, port = address[:2]
        if port == self.own_port:
            return await self._connect(sock, address)
        self.went_to.append(host)
        if host in self.machines:
            return await self._connect(sock, ("127.0.0.1", self.machines[host]))
        if ip_address(host).is_loopback:
            return await self._connect(sock, address)
        raise OSError(f"nothing stands at {host}")


class FarPeer(Peer):
    """A peer that stands at a name of its own, over TLS."""

    def __init__(self, clock, host, key="peer"):
        super().__init__(clock, key)
        self.host = host

    async def start(self, port=None):
        app = web.Application(client_max_size=10**7)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self.server = TestServer(app, port=port)
        await self.server.start_server(ssl=_serving(self.host))
        self.port = self.server.port
        self.base = Origin(f"https://{self.host}")
        self.id = addresses.instance_url(self.base)
        self.session = aiohttp.ClientSession(auto_decompress=False)
        return self


def _row(address, port):
    if ip_address(address).version == 6:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


@functools.cache
def _authority():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of tests")])
    return key, _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=None))


def _certificate(subject, issuer, key, signer, extension):
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    return builder.add_extension(extension, critical=False).sign(signer, SHA256())


def _trusting():
    context = ssl.create_default_context(cadata=_authority()[1].public_bytes(Encoding.PEM).decode())
    context.set_alpn_protocols(("http/1.1",))
    return context


@functools.cache
def _serving(host):
    signer, authority = _authority()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    made = _certificate(subject, authority.subject, key, signer, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as folder:  # ssl reads keys from files alone
        path = Path(folder) / "chain.pem"
        path.write_bytes(secret + made.public_bytes(Encoding.PEM))
        context.load_cert_chain(path)
    return context
