"""HTTP signatures as a stranger reads them: verified by hand, from the texts and not with our code.

draft-cavage-12 section 2.3 and RFC 9421 section 2.5, as far as a fediverse server goes: it asks
for what we promise to cover, takes one signature of a request, and knows RSA with SHA-256 alone.
"""

import hashlib
import re
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

CAVAGE, RFC9421 = "cavage", "rfc9421"


def scheme_of(headers):
    """Return the scheme that a request is signed in, or None; `headers` by names in lower case."""
    if "signature-input" in headers:
        return RFC9421
    return CAVAGE if "signature" in headers else None


def key_id_of(headers):
    if scheme_of(headers) == RFC9421:
        return re.findall(r';keyid="([^"]+)"', headers["signature-input"])[0]
    return _parameters(headers)["keyId"]


def holds(method, url, headers, body, key):
    """Tell whether the public `key` signed the request, its body included."""
    is_new = scheme_of(headers) == RFC9421
    covered, text, value = (_rfc9421 if is_new else _cavage)(method, url, headers)
    needed = {"@method", "@target-uri"} if is_new else {"(request-target)", "host", "date"}
    if body:
        needed.add("content-digest" if is_new else "digest")
    if not needed <= set(covered) or (body and not _is_digest_of(body, headers, is_new)):
        return False
    try:
        key.verify(value, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _is_digest_of(body, headers, is_new):
    digest = b64encode(hashlib.sha256(body).digest()).decode()
    if is_new:
        return headers["content-digest"] == f"sha-256=:{digest}:"
    return headers["digest"] == f"SHA-256={digest}"


def _cavage(method, url, headers):
    said = _parameters(headers)
    target = "/" + url.split("://", 1)[1].partition("/")[2]
    lines = headers | {"(request-target)": f"{method.lower()} {target}"}
    covered = said["headers"].split(" ")
    text = "\n".join(f"{name}: {lines[name]}" for name in covered)
    return covered, text, b64decode(said["signature"])


def _parameters(headers):
    return dict(re.findall(r'(\w+)="([^"]*)"', headers["signature"]))


def _rfc9421(method, url, headers):
    label, _, rest = headers["signature-input"].partition("=")
    covered = re.findall(r'"([^"]+)"', rest[: rest.index(")")])
    lines = headers | {"@method": method, "@target-uri": url}
    text = "".join(f'"{name}": {lines[name]}\n' for name in covered)
    text += f'"@signature-params": {rest}'
    (value,) = re.findall(rf"^{label}=:([A-Za-z0-9+/=]+):$", headers["signature"])
    return covered, text, b64decode(value)
