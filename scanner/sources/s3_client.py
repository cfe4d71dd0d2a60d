"""The client of an S3-compatible store: how it is set up, and what its errors mean in words.

The settings win over the environment; without keys in them the environment's are used, in
Amazon's own names. Messages quote nothing that the store or a request says but an error code.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from scanner.errors import SourceChanged, SourceError, SourceUnreachable
from scanner.sources.settings import S3Settings, Secret

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

CREDENTIAL_SETTINGS = "look at access_key_id, secret_access_key and region"
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def open_store(settings: S3Settings) -> S3Store:
    """Return the client; raises SourceError where the settings cannot be right."""
    seconds = timedelta(seconds=settings.timeout_seconds)
    client: ClientConfig = {
        "timeout": seconds,
        "connect_timeout": seconds,
        "allow_http": bool(settings.endpoint and settings.endpoint.startswith("http://")),
    }
    retry: RetryConfig = {"max_retries": settings.retries, "retry_timeout": seconds}
    try:
        return S3Store(config=_config(settings), client_options=client, retry_config=retry)
    except BaseError as error:
        raise SourceError(f"the source s3://{settings.bucket} cannot be opened: {error}") from error


def _config(settings: S3Settings) -> "S3Config":
    config: S3Config = {
        "bucket": settings.bucket,
        "region": settings.region,
        "virtual_hosted_style_request": not settings.path_style,
        "disable_bulk_delete": True,  # not every store has it
    }
    if settings.endpoint is not None:
        _check_credentials(settings)
        config["endpoint"] = config["aws_endpoint_url_s3"] = _endpoint(settings, settings.endpoint)
    if settings.anonymous:
        config["skip_signature"] = True
    for name in ("access_key_id", "secret_access_key", "session_token"):
        secret: Secret | None = getattr(settings, name)
        if secret is not None:
            config[name] = secret.get_secret_value()
    return config


def _check_credentials(settings: S3Settings) -> None:
    """Raise SourceError where the client would ask Amazon's machine for credentials in vain."""
    if settings.anonymous or settings.access_key_id is not None:
        return
    if not any(name in os.environ for name in CREDENTIALS):
        raise SourceError(
            f"the source s3://{settings.bucket} has no credentials: set access_key_id and "
            "secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            "environment, or anonymous = true"
        )


def _endpoint(settings: S3Settings, url: str) -> str:
    """Return the URL that requests go to: the client wants the bucket in the host's name itself."""
    if settings.path_style:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{settings.bucket}.{rest}"


@contextlib.contextmanager
def errors(where: str, timeout_seconds: float) -> Iterator[None]:
    """Turn the client's errors, which quote answers of the store, into sentences."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceChanged(f"{where}: it is gone") from error
    except InvalidPathError as error:
        raise SourceError(f"{where}: {_bad_key(str(error))}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        code = _code(str(error))
        raise SourceUnreachable(f"{where}: refused{code}; {CREDENTIAL_SETTINGS}") from error
    except TimeoutError as error:
        raise SourceUnreachable(f"{where}: no answer within {timeout_seconds:g} s") from error
    except (BaseError, OSError) as error:
        raise SourceUnreachable(f"{where}: {_cause(str(error))}") from error


def refused(where: str, status: int, body: bytes) -> SourceUnreachable:
    """Return what an answer that is none says, in words."""
    said = body[:10_000].decode(errors="replace")
    return SourceUnreachable(f"{where}: {_cause(f'status code: {status} {said}')}")


def _bad_key(text: str) -> str:
    """Say which key the client cannot name."""
    found = re.search(r'Path "(.*?)"(?:: Encountered| contained)', text, re.DOTALL)
    key = ascii(found[1][:200]) if found else "a key"
    return f"{key} cannot be named by the client; rename or delete that object, or set prefix"


def _code(text: str) -> str:
    found = re.search(r"<Code>(\w{1,64})</Code>", text)
    return f" ({found[1]})" if found else ""


def _cause(text: str) -> str:
    """Return what is safe and short of an error of the client: no answer's body, no request."""
    status = re.search(r"status code: (\d{3})", text)
    if status:
        refused = status[1] in {"401", "403"}
        look = CREDENTIAL_SETTINGS if refused else "look at bucket, endpoint, region and path_style"
        return f"the store answers {status[1]}{_code(text)}; {look}"
    if "timed out" in text or "TimedOut" in text or "timeout" in text:
        return "no answer in time; look at endpoint and timeout_seconds"
    return "the store cannot be reached; look at endpoint and the network"
