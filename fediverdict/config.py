"""The configuration: TOML, overlaid by environment variables, frozen, unknown keys refused.

Every room owns the settings of its limits; this file only joins them. A relative path in the
file is relative to the file's folder. `FEDIVERDICT_DECIDE__FLAG_QUORUM=1.5` sets
`decide.flag_quorum`; its value is read as TOML, else as text.
"""

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from cache.settings import (
    DatabaseSettings,
    DecideSettings,
    IndexSettings,
    PeerDefaults,
    ReuseSettings,
    TrustSettings,
)
from federation.errors import FederationError
from federation.origin import Origin, netloc_of, parse_origin
from federation.settings import FederationSettings, FeedSettings
from fediverdict.errors import ConfigError
from scanner.limits import Limits
from scanner.policy import shipped_policies
from scanner.settings import ScannerSettings, ShadowSettings
from scanner.sources.settings import KINDS, SourceSettings

BUNDLED = "bundled"
ENV_PREFIX = "FEDIVERDICT_"
ENV_CONFIG = "FEDIVERDICT_CONFIG"
DEFAULT_NAME = "config.toml"

Share = Literal["off", "public", "all"]
Threshold = Annotated[int, Field(ge=0, le=10_000)]
PipelineId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Settings(BaseModel):
    """A frozen table of the config file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InstanceSettings(Settings):
    """Who this instance is."""

    base_url: str = "http://127.0.0.1:8700"
    name: str = "Fediverdict"
    state_dir: Path = Path("state")


class HttpSettings(Settings):
    """Where the instance listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8700
    lookup_items: Annotated[int, Field(ge=1)] = 1_000
    lookup_bytes: Annotated[int, Field(ge=1_024)] = 1_048_576
    concurrent_scans: Annotated[int, Field(ge=1)] = 16
    waiting_scans: Annotated[int, Field(ge=0)] = 256
    background_bytes: Annotated[int, Field(ge=0)] = 268_435_456
    jobs: Annotated[int, Field(ge=0)] = 1_000
    job_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    body_seconds: Annotated[float, Field(gt=0, le=3_600)] = 120.0


class ApiSettings(Settings):
    """How the verdicts of pictures that come in through the API are shared."""

    share: Share = "off"


class ScanSettings(Settings):
    """How `scan`, `watch` and `apply` go through a source."""

    pictures_in_flight: Annotated[int, Field(ge=1)] = 64
    bytes_in_flight: Annotated[int, Field(ge=1)] = 134_217_728
    rate_pictures_per_second: Annotated[float, Field(ge=0)] = 0.0
    window: Annotated[int, Field(ge=1)] = 10_000
    write_batch: Annotated[int, Field(ge=1)] = 256
    write_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    stop_seconds: Annotated[float, Field(ge=0)] = 20.0
    act_batch: Annotated[int, Field(ge=1)] = 32
    unreachable_in_a_row: Annotated[int, Field(ge=0)] = 16
    retry_seconds: Annotated[float, Field(gt=0)] = 5.0
    retry_seconds_max: Annotated[float, Field(gt=0)] = 600.0


class ReviewSettings(Settings):
    """How stored pictures are decided anew when something changes."""

    arrivals_batch: Annotated[int, Field(ge=1, le=10_000)] = 256
    codes_batch: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    cases_batch: Annotated[int, Field(ge=1, le=1_000)] = 64
    pictures_batch: Annotated[int, Field(ge=1, le=1_000)] = 64
    pause_seconds: Annotated[float, Field(gt=0, le=3_600)] = 2.0
    prune_rows: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    prune_seconds: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0


class CasesSettings(Settings):
    """What stands in one case."""

    near_pictures: Annotated[int, Field(ge=1, le=10_000)] = 200


class UndoSettings(Settings):
    """What may be undone without a person."""

    auto: bool = False


class PipelineSettings(Settings):
    """Whose scores are reused: thresholds of one pipeline, 0..10000 a label."""

    thresholds: dict[str, Threshold]
    state: Literal["accepted", "retired", "shadow"] = "accepted"


class PeersSettings(Settings):
    """What a new peer starts with."""

    defaults: PeerDefaults = PeerDefaults()


class Config(Settings):
    """The whole configuration; every default is safe."""

    instance: InstanceSettings = InstanceSettings()
    http: HttpSettings = HttpSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    limits: Limits = Limits()
    scanner: ScannerSettings = ScannerSettings()
    decide: DecideSettings = DecideSettings()
    trust: TrustSettings = TrustSettings()
    reuse: ReuseSettings = ReuseSettings()
    index: IndexSettings = IndexSettings()
    peers: PeersSettings = PeersSettings()
    feed: FeedSettings = FeedSettings()
    federation: FederationSettings = FederationSettings()
    scan: ScanSettings = ScanSettings()
    review: ReviewSettings = ReviewSettings()
    cases: CasesSettings = CasesSettings()
    undo: UndoSettings = UndoSettings()
    sources: dict[str, SourceSettings] = {}
    pipelines: dict[PipelineId, PipelineSettings] = {}
    rules: dict[str, str] = {}

    @model_validator(mode="after")
    def _base_url_is_an_origin(self) -> Self:
        try:
            parse_origin(self.instance.base_url, allow_http=True)
        except FederationError as error:
            raise ValueError(f"instance.base_url: {error}") from error
        return self

    @model_validator(mode="after")
    def _hosts_are_judged_by_origins(self) -> Self:
        try:
            peers_of_hosts(self)
        except FederationError as error:
            raise ValueError(
                f'reuse.hosts: {error}; write "files.example" = "https://peer.example"'
            ) from error
        return self

    @model_validator(mode="after")
    def _one_picture_fits(self) -> Self:
        if self.scan.bytes_in_flight < self.limits.image_bytes:
            raise ValueError("scan.bytes_in_flight must be at least limits.image_bytes")
        return self

    @model_validator(mode="after")
    def _private_addresses_are_for_tests(self) -> Self:
        https = self.instance.base_url.startswith("https://")
        if self.federation.allow_private_addresses and https:
            raise ValueError(
                "federation.allow_private_addresses is for tests on loopback and is refused "
                "with an https base URL; remove it"
            )
        if not self.federation.allow_private_addresses and not https and self._public():
            raise ValueError("instance.base_url must begin with https://")
        return self

    def _public(self) -> bool:
        return not self.instance.base_url.startswith(("http://127.0.0.1", "http://localhost"))


def peers_of_hosts(config: Config) -> dict[str, Origin]:
    """Return the peers that judge the pictures of hosts, by `host[:port]`, in one spelling."""
    http = config.federation.allow_private_addresses
    return {
        netloc_of(parse_origin(f"https://{host}")): parse_origin(peer, allow_http=http)
        for host, peer in config.reuse.hosts.items()
    }


def find_config(path: Path | None) -> Path:
    """Return the config file to read: the one named, `FEDIVERDICT_CONFIG`, or ./config.toml."""
    found = path or Path(os.environ.get(ENV_CONFIG, DEFAULT_NAME))
    if not found.is_file():
        raise ConfigError(f"no configuration at {found}; make one with `fediverdict init`")
    return found


def load_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check one config file; raises ConfigError with one sentence."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    return read_config(text, path, environment)


def read_config(text: str, path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Check the text of a config file that stands, or is to stand, at `path`."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return parse_config(_overlaid(values, environment), path, _overlays(environment))


def parse_config(values: Mapping[str, Any], path: Path, overlays: Sequence[str] = ()) -> Config:
    """Check the values of a config file; relative paths are taken from its folder."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        where = f"{path} with {', '.join(overlays)}" if overlays else path
        raise ConfigError(f"{where}: {_sentence(error)}") from error
    return _absolute(config, path.resolve().parent)


def _overlays(environment: Mapping[str, str]) -> list[str]:
    """Return the environment variables that set something."""
    return sorted(n for n in environment if n.startswith(ENV_PREFIX) and n != ENV_CONFIG)


def _overlaid(values: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    for name in _overlays(environment):
        text, table = environment[name], values
        *path, last = name.removeprefix(ENV_PREFIX).lower().split("__")
        for key in path:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{name} names a table, but the config has a value there")
        table[last] = _toml_value(text)
    return values


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _absolute(config: Config, folder: Path) -> Config:
    instance = config.instance.model_copy(
        update={"state_dir": folder / expanded(config.instance.state_dir)}
    )
    sources = {name: _absolute_source(source, folder) for name, source in config.sources.items()}
    database = config.database.model_copy(update={"url": absolute_url(config.database.url, folder)})
    return config.model_copy(
        update={
            "instance": instance,
            "sources": sources,
            "database": database,
            "scanner": _absolute_scanner(config.scanner, folder),
        }
    )


def _absolute_source(source: SourceSettings, folder: Path) -> SourceSettings:
    """Return a source with those of its settings absolute that are paths on this machine."""
    paths = {name: path for name in source.PATHS if (path := getattr(source, name)) is not None}
    update = {name: folder / expanded(path) for name, path in paths.items()}
    return source.model_copy(update=update)


def _absolute_scanner(scanner: ScannerSettings, folder: Path) -> ScannerSettings:
    """Return the settings with the paths among them absolute; names are left as they are."""
    kept = {
        name: folder / expanded(path)
        for name in ("weights_folder", "onnx", "exports_folder")
        if (path := getattr(scanner, name))
    }
    shadow = scanner.shadow.model_copy(update=_absolute_names(scanner.shadow, folder))
    update = {**_absolute_names(scanner, folder), **kept, "shadow": shadow}
    return scanner.model_copy(update=update)


def _absolute_names(settings: ScannerSettings | ShadowSettings, folder: Path) -> dict[str, str]:
    """Return those of policy, model and architecture that are files, as absolute paths."""
    return {
        name: str(path)
        for name in ("policy", "model", "architecture")
        if (value := getattr(settings, name)) and value not in (BUNDLED, *shipped_policies())
        if (path := folder / expanded(Path(value))).exists()
    }


def expanded(path: Path) -> Path:
    """Return the path with `~` replaced; raises ConfigError where that names nobody's home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path} begins with ~, but names no home folder here") from error


def absolute_url(url: str, folder: Path) -> str:
    """Return the database URL with a relative SQLite path taken from `folder`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return url  # whoever opens the database says what is wrong
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database[0] == ":":
        return url
    path = folder / expanded(Path(parsed.database))
    return parsed.set(drivername="sqlite", database=str(path)).render_as_string()


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(_place(first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    known = sorted(setting_names())
    near = difflib.get_close_matches(place, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; see config.sample.toml"
    return f"unknown key {place}{hint}"


def _place(location: Sequence[int | str]) -> list[str]:
    """Return where a setting stands; pydantic adds the kind of a source behind its name."""
    parts = [str(part) for part in location]
    inside = parts[:1] == ["sources"] and len(parts) > 2 and parts[2] in KINDS
    return parts[:2] + parts[3:] if inside else parts


def setting_names(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Give the dotted name of every setting; free tables stand as `sources`, `pipelines`."""
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        yield prefix + name
        if inner is not None:
            yield from setting_names(inner, f"{prefix}{name}.")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((m for a in typing.get_args(annotation) if (m := _model_of(a))), None)
    return None
