"""Signs GET requests to an S3-compatible store (AWS Signature Version 4), by botocore."""

import hashlib
import os
from collections.abc import Mapping
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from scanner.sources.settings import S3Settings

NO_BODY = hashlib.sha256(b"").hexdigest()
SECRET_NAME = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  # a variable's name


def credentials_of(settings: S3Settings) -> Credentials | None:
    """Return the credentials of the settings, else those that stand in the environment."""
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        token = settings.session_token
        return Credentials(
            settings.access_key_id.get_secret_value(),
            settings.secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get(SECRET_NAME)
    if not (key_id and secret):
        return None
    return Credentials(key_id, secret, os.environ.get("AWS_SESSION_TOKEN") or None)


def url_of(address: str, query: Mapping[str, str]) -> str:
    """Return an address with its query, sorted and quoted as it is signed."""
    return f"{address}?{'&'.join(f'{_quoted(k)}={_quoted(query[k])}' for k in sorted(query))}"


def headers_of(url: str, credentials: Credentials, region: str) -> dict[str, str]:
    """Return the headers that sign a GET request of this URL now."""
    request = AWSRequest("GET", url, headers={"x-amz-content-sha256": NO_BODY})
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
