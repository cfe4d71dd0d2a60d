"""The settings of a source (`[sources.NAME]`): which kind it is, where, and its limits.

Secrets are SecretStr: no message, log or `repr` shows them. Each may come from the environment
instead, for example `FEDIVERDICT_SOURCES__STORE__SECRET_ACCESS_KEY`.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)


def _text(value: Any) -> Any:
    """Refuse what the environment's TOML made of a secret that looks like a number or a date."""
    if value is not None and not isinstance(value, str | SecretStr):
        raise ValueError("is read as a number or another value; put it in double quotes")
    return value


Secret = Annotated[SecretStr, BeforeValidator(_text)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]


class AnySourceSettings(BaseModel):
    """What every source has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    PATHS: ClassVar[tuple[str, ...]] = ()
    """The settings that are paths on this machine."""

    share: Literal["off", "all"] = "off"
    """A source does not tell which of its pictures are public."""
    page_items: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Items listed at a time."""
    poll_seconds: Seconds = 60.0
    """How often `watch` asks for what is new, where nothing tells it."""
    relist_seconds: Seconds = 86_400.0
    """How often `watch` lists everything again, where it need not each time."""
    remember_items: Count = 5_000_000
    """Items that `watch` knows it has given, 8 bytes each."""


class FolderSettings(AnySourceSettings):
    """A folder on this machine."""

    PATHS: ClassVar[tuple[str, ...]] = ("path",)

    kind: Literal["folder"] = "folder"
    path: Path
    settle_seconds: Seconds = 2.0
    """How long a file that nobody closed must stand still to count as complete."""
    folder_items: Count = 2_000_000
    """Names in one folder, 100 bytes each while it is listed."""
    pending_items: Count = 100_000
    """Files and folders that appeared and were not looked at yet; past it all is listed."""
    watch_folders: Count = 100_000
    """Folders watched by inotify, 1 kB each; past it the folder is listed every poll_seconds."""


class RemoteSettings(AnySourceSettings):
    """What every source behind a network has."""

    timeout_seconds: Seconds = 60.0
    """For one request, and for reading one object."""
    requests_at_once: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Objects read or deleted at once."""


class S3Settings(RemoteSettings):
    """A bucket of an S3-compatible store."""

    kind: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")]
    prefix: str = ""
    """Only keys below it; a `/` at its end is added."""
    endpoint: str | None = None
    """The store's URL; none: Amazon's for the region."""
    region: str = "us-east-1"
    path_style: bool = True
    """False: the bucket is part of the host name."""
    access_key_id: Secret | None = None
    """None: `AWS_ACCESS_KEY_ID` and the other ways of Amazon's tools, machine roles included."""
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    anonymous: bool = False
    """Sign no request: for a public bucket."""
    allow_http: bool = False
    """Allow an endpoint without TLS that is not on loopback."""
    versioned: bool = False
    """The bucket keeps versions, so that deleting can be undone; checked at each deletion."""
    order: Literal["any", "time"] = "any"
    """`time`: new keys sort last (pict-rs 0.5.7 and newer), so `watch` asks from the last key."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.endpoint is not None:
            _check_url("endpoint", self.endpoint, allow_http=self.allow_http)
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together; set both")
        return self


class SftpSettings(RemoteSettings):
    """A folder behind SFTP."""

    PATHS: ClassVar[tuple[str, ...]] = ("known_hosts", "key_file")

    kind: Literal["sftp"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    user: Annotated[str, Field(min_length=1)]
    path: str = "."
    """The folder there; a relative one begins at the user's home."""
    host_key: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")] | None = None
    """The fingerprint of the server's key, as `ssh-keygen -lf` prints it."""
    known_hosts: Path | None = None
    """A file that holds the server's key, as `ssh` writes it."""
    key_file: Path | None = None
    passphrase: Secret | None = None
    password: Secret | None = None
    agent: bool = False
    """Use the keys of the running ssh-agent."""
    folder_items: Count = 2_000_000
    """Names in one folder, 300 bytes each while it is listed."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if (self.host_key is None) == (self.known_hosts is None):
            raise ValueError("set one of host_key and known_hosts: no key is accepted unseen")
        if not (self.key_file or self.password or self.agent):
            raise ValueError("set key_file, password or agent = true")
        return self


class PictrsSettings(RemoteSettings):
    """A pict-rs server, by its internal API."""

    kind: Literal["pict-rs"]
    url: str
    token: Secret
    """The server's `PICTRS__SERVER__API_KEY`."""
    allow_http: bool = False
    """Allow a URL without TLS that is not on loopback, for example within one machine's
    container network: the token crosses it in clear."""
    page_bytes: Annotated[int, Field(ge=1_024)] = 16_777_216
    """A page of the listing, decoded."""
    redirects: Annotated[int, Field(ge=0, le=10)] = 0
    """Redirects followed when a picture is read, for a store with a public endpoint."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _check_url("url", self.url, allow_http=self.allow_http)
        return self


def _check_url(name: str, text: str, *, allow_http: bool) -> None:
    """Raise ValueError unless it is an https URL, or an http one that may be."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"{name} is no URL") from error
    if url.scheme not in {"http", "https"} or not host or url.query or url.fragment:
        raise ValueError(f"{name} must be https://HOST, without a query")
    if url.username is not None or url.password is not None:
        raise ValueError(f"{name} must not hold credentials; there are settings for them")
    if url.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ValueError(f"{name} must begin with https://, or set allow_http = true")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kind(value: Any) -> str:
    """Return which kind a table is: a folder where it does not say."""
    kind = value.get("kind", "folder") if isinstance(value, dict) else getattr(value, "kind", "")
    return kind if isinstance(kind, str) else ""


SourceSettings = Annotated[
    Annotated[FolderSettings, Tag("folder")]
    | Annotated[S3Settings, Tag("s3")]
    | Annotated[SftpSettings, Tag("sftp")]
    | Annotated[PictrsSettings, Tag("pict-rs")],
    Discriminator(
        _kind,
        custom_error_type="source_kind",
        custom_error_message="kind must be folder, s3, sftp or pict-rs",
    ),
]
KINDS = ("folder", "s3", "sftp", "pict-rs")
