"""Signs GET requests to an S3-compatible store by AWS Signature Version 4. Pure but for `found`.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html; the vectors of the
tests are Amazon's own.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import quote, urlsplit

from scanner.sources.settings import S3Settings

NO_BODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs a request."""

    key_id: str
    secret: str
    token: str | None = None

    @classmethod
    def found(cls, settings: S3Settings) -> Self | None:
        """Return those of the settings, else those that stand in the environment."""
        if settings.access_key_id is not None and settings.secret_access_key is not None:
            token = settings.session_token
            return cls(
                settings.access_key_id.get_secret_value(),
                settings.secret_access_key.get_secret_value(),
                token.get_secret_value() if token is not None else None,
            )
        key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get(SECRET_NAME)
        if not (key_id and secret):
            return None
        return cls(key_id, secret, os.environ.get("AWS_SESSION_TOKEN") or None)


SECRET_NAME = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  # a variable's name


def url_of(address: str, query: Mapping[str, str]) -> str:
    """Return an address with its query, sorted and quoted as it is signed."""
    return f"{address}?{'&'.join(f'{_quoted(k)}={_quoted(query[k])}' for k in sorted(query))}"


def headers_of(url: str, credentials: Credentials, region: str, now: datetime) -> dict[str, str]:
    """Return the headers that sign a GET request of this URL, at this time in UTC."""
    parts, moment = urlsplit(url), f"{now:%Y%m%dT%H%M%SZ}"
    headers = {"host": parts.netloc, "x-amz-content-sha256": NO_BODY, "x-amz-date": moment}
    if credentials.token is not None:
        headers["x-amz-security-token"] = credentials.token
    names = ";".join(headers)  # they stand sorted
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join(["GET", parts.path or "/", parts.query, lines, names, NO_BODY])
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{credentials.secret}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope},"
        f"SignedHeaders={names},Signature={key.hex()}"
    )
    return headers


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
