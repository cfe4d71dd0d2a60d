"""Brings the weights of a pretrained tag into a folder of ours, once, and says how to pin them.

The tag says where: a repository of the model hub, or a URL of one of the hosts that open_clip
names. What is here is never asked for again, so the pipeline does not change under its owner;
it is held to the digest that was written down when it came. Nothing is unpickled here.
"""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scanner.classifiers.download import Bounds, Progress, Remote, download, recorded_digest
from scanner.classifiers.hub import SHA256, find_on_hub, in_hub_cache, is_offline
from scanner.errors import DownloadError, ModelError
from scanner.settings import ScannerSettings

HOSTS = {
    "openaipublic.azureedge.net": frozenset({"openaipublic.azureedge.net"}),
    "dl.fbaipublicfiles.com": frozenset({"dl.fbaipublicfiles.com"}),
    "github.com": frozenset({"github.com", ".githubusercontent.com"}),
}
"""The hosts of open_clip's URLs, and where each may lead."""
DIGEST_FOLDER = re.compile(r"/([0-9a-f]{64})/[^/]+$")
DIGEST_ENDING = re.compile(r"-([0-9a-f]{8})\.[a-z]+$")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tag:
    """What open_clip knows of a pretrained tag."""

    repository: str
    """On the model hub; empty where there is none."""
    files: tuple[str, ...]
    """What the weights may be called there, the wanted one first."""
    url: str
    """Of a file elsewhere; empty where there is none."""
    preprocessing: Mapping[str, Any]
    quick_gelu: bool


def fetch_weights(settings: ScannerSettings, tag: Tag, progress: Progress | None = None) -> Path:
    """Return the file of the tag, downloaded if it is not here yet; raises DownloadError."""
    folder = weights_folder(settings)
    if settings.weights_from == "url":
        return _from_url(settings, tag.url, folder, progress)
    if not tag.repository:
        raise DownloadError(f"{settings.model} is on no hub: set scanner.weights_from to url")
    return _from_hub(settings, tag, folder, progress)


def weights_folder(settings: ScannerSettings) -> Path:
    """Return where weights are kept: the setting, or the user's cache folder."""
    if settings.weights_folder is not None:
        return settings.weights_folder.expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fediverdict" / "weights"


def url_digest(url: str) -> str:
    """Return the SHA-256, or its first digits, that the publisher put into the URL; else empty."""
    path = urlsplit(url).path
    found = DIGEST_FOLDER.search(path) or DIGEST_ENDING.search(path)
    return found[1] if found else ""


def _from_url(settings: ScannerSettings, url: str, folder: Path, progress: Progress | None) -> Path:
    parts = urlsplit(url)
    if not url:
        raise DownloadError(f"{settings.model} has no URL: set scanner.weights_from to hub")
    if parts.hostname not in HOSTS:
        raise DownloadError(f"{url} lies on none of the hosts that open_clip is known to name")
    target = folder / parts.hostname / Path(parts.path).name
    if not target.is_file():
        remote = Remote(url, HOSTS[parts.hostname], url_digest(url), None, parts.scheme)
        _bring(settings, remote, target, progress)
    return target


def _from_hub(settings: ScannerSettings, tag: Tag, folder: Path, progress: Progress | None) -> Path:
    revision = settings.weights_revision
    place = folder / tag.repository.replace("/", "--") / revision
    for name in tag.files:
        if (place / name).is_file():
            return place / name
    cached = in_hub_cache(tag.repository, tag.files, revision)
    if cached is not None:
        return cached
    _refuse_offline(settings, place)
    found = find_on_hub(tag.repository, tag.files, revision)
    _bring(settings, found.remote, place / found.name, progress)
    if found.commit != revision:
        logger.info("%s came from commit %s of %s", found.name, found.commit, tag.repository)
    return place / found.name


def _bring(
    settings: ScannerSettings, remote: Remote, target: Path, progress: Progress | None
) -> None:
    """Download a file; a pin that agrees with what the publisher says is asked for as well."""
    _refuse_offline(settings, target)
    pinned = settings.weights_sha256
    if pinned and not pinned.startswith(remote.sha256):
        raise DownloadError(
            f"{remote.url} is published with the SHA-256 {remote.sha256}, but "
            f"scanner.weights_sha256 is {pinned}: nothing was fetched; mend the setting"
        )
    wanted = replace(remote, sha256=pinned or remote.sha256)
    bounds = Bounds(settings.weights_bytes, settings.weights_stall_seconds)
    digest = download(wanted, target, bounds, progress)
    if not pinned:
        logger.warning(
            "%s has the SHA-256 %s, which no setting pins; to hold it to that, set "
            'scanner.weights_sha256 = "%s"',
            target,
            digest,
            digest,
        )


def _refuse_offline(settings: ScannerSettings, place: Path) -> None:
    if is_offline():
        raise DownloadError(
            f"{settings.model} is not in {place}, and HF_HUB_OFFLINE forbids fetching it"
        )


def checked_sha256(path: Path) -> str:
    """Return the digest of a fetched file; raises ModelError if it changed since it came."""
    digest = file_sha256(path)
    recorded = recorded_digest(path)
    if recorded is None and SHA256.fullmatch(path.resolve().name):
        recorded = path.resolve().name  # the hub's own cache names its files so
    if recorded is not None and recorded != digest:
        raise ModelError(
            f"{path} has the SHA-256 {digest}, but it came with {recorded}: it was damaged or "
            f"changed here; remove it, and it is fetched again"
        )
    return digest


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file; raises ModelError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror}") from error
