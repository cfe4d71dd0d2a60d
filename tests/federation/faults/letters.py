"""Signed requests made by hand, in both schemes, each part of which may be spoilt.

Written from the texts (draft-cavage-12 section 2.3, RFC 9421 section 2.5) and not with the code
under test, so that two readings of them meet.
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from federation.wire import strictjson

SCHEMES = ("cavage", "rfc9421")
ACTIVITY = "application/activity+json"
COVERED = {
    "cavage": ("(request-target)", "host", "date", "digest", "content-type"),
    "rfc9421": ("@method", "@target-uri", "content-digest", "content-type"),
}
DIGEST_HEADERS = {"cavage": "Digest", "rfc9421": "Content-Digest"}


@dataclass(frozen=True)
class Letter:
    """A request as it will be sent; `spoilt` changes headers (None drops one) after signing."""

    method: str
    url: str
    body: bytes | None
    headers: dict[str, str] = field(default_factory=dict)

    def spoilt(self, body=None, url=None, method=None, **headers):
        changed = self.headers | {name.replace("_", "-"): text for name, text in headers.items()}
        kept = {name: text for name, text in changed.items() if text is not None}
        return replace(
            self,
            headers=kept,
            body=self.body if body is None else body,
            url=url or self.url,
            method=method or self.method,
        )

    async def send(self, peer):
        """Send it over the peer's connections; returns (status, headers, body)."""
        async with peer.session.request(
            self.method, self.url, data=self.body, headers=self.headers
        ) as answer:
            return answer.status, dict(answer.headers), await answer.read()


def write(scheme, peer, ours, sent, *, path="/inbox", signed_url=None, **more):
    """An activity for `ours`, signed by its actor with the peer's key."""
    body = sent if isinstance(sent, bytes) else strictjson.to_bytes(sent)
    if "key_id" not in more:
        more["key_id"] = f"{sent['actor']}#main-key"
    url = f"{ours.base}{path}"
    headers = sign(scheme, "POST", signed_url or url, body, **({"peer": peer} | more))
    return Letter("POST", url, body, headers)


def ask(scheme, peer, url, *, signer=None, method="GET", **more):
    """A signed GET by the peer's instance actor."""
    more.setdefault("key_id", f"{signer or peer.id}#main-key")
    return Letter(method, url, None, sign(scheme, method, url, None, peer=peer, **more))


def sign(
    scheme,
    method,
    url,
    body,
    *,
    peer,
    key_id,
    key=None,
    now=None,
    leave_out=(),
    digest=None,
    rest=None,
):
    """Return the headers of a signed request.

    `leave_out` names components that are sent but not covered, `digest` replaces the digest's
    value before signing, `rest` the parameters of an RFC 9421 signature.
    """
    now = peer.clock() if now is None else now
    parts = urlsplit(url)
    headers = {"Host": parts.netloc, "Date": formatdate(now, usegmt=True)}
    if body is not None:
        value = b64encode(hashlib.sha256(body).digest()).decode()
        made = f"SHA-256={value}" if scheme == "cavage" else f"sha-256=:{value}:"
        headers[DIGEST_HEADERS[scheme]] = digest or made
        headers["Content-Type"] = ACTIVITY
    lines = {name.lower(): text for name, text in headers.items()}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines |= {"(request-target)": f"{method.lower()} {target}"}
    lines |= {"@method": method, "@target-uri": url}
    covered = [one for one in COVERED[scheme] if one in lines and one not in leave_out]
    private = key or peer.rsa
    if scheme == "cavage":
        text = "\n".join(f"{one}: {lines[one]}" for one in covered)
        headers["Signature"] = (
            f'keyId="{key_id}",algorithm="rsa-sha256",headers="{" ".join(covered)}",'
            f'signature="{_rsa(private, text)}"'
        )
        return headers
    names = " ".join(f'"{one}"' for one in covered)
    rest = rest or f';created={now};keyid="{key_id}";alg="rsa-v1_5-sha256"'
    text = "".join(f'"{one}": {lines[one]}\n' for one in covered)
    text += f'"@signature-params": ({names}){rest}'
    headers["Signature-Input"] = f"sig1=({names}){rest}"
    headers["Signature"] = f"sig1=:{_rsa(private, text)}:"
    return headers


def _rsa(private, text):
    return b64encode(private.sign(text.encode(), PKCS1v15(), SHA256())).decode()
