"""Asks the model hub what a file of a repository is: its address, size, SHA-256 and commit.

Only asking: fetching is `download.py`'s, which resumes and checks; huggingface_hub's own
download begins anew after an interruption and holds no large file to its digest. The hub's
address is huggingface_hub's (HF_ENDPOINT), and HF_HUB_OFFLINE is heeded. A file that lies in
huggingface_hub's own cache already is taken from there.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scanner.classifiers.download import Remote
from scanner.errors import DownloadError

SHA256 = re.compile(r"[0-9a-f]{64}")
CONTENT_HOSTS = frozenset({".huggingface.co", ".hf.co"})
"""Where the hub sends those who ask for a large file."""
YES = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository at one commit."""

    remote: Remote
    commit: str
    name: str


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE, or TRANSFORMERS_OFFLINE, forbids asking anybody."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in YES for name in names)


def find_on_hub(
    repository: str, names: Sequence[str], revision: str, endpoint: str | None = None
) -> HubFile:
    """Return the first of those files that the repository has; raises DownloadError."""
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415  not in every install

    for name in names:
        try:
            return _ask(repository, name, revision, endpoint)
        except EntryNotFoundError:
            continue
        except Exception as error:  # its errors derive from its HTTP library's, which changes
            what = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise DownloadError(
                f"the model hub does not tell of {repository} at {revision}: {what}"
            ) from error
    raise DownloadError(f"{repository} at {revision} has none of {', '.join(names)}")


def in_hub_cache(
    repository: str, names: Sequence[str], revision: str, cache: Path | None = None
) -> Path | None:
    """Return a file that huggingface_hub fetched earlier, None where there is none."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    for name in names:
        found = try_to_load_from_cache(repository, name, cache_dir=cache, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def _ask(repository: str, name: str, revision: str, endpoint: str | None) -> HubFile:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415

    url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
    found = get_hf_file_metadata(url, token=False)
    commit = found.commit_hash or revision
    digest = found.etag if found.etag and SHA256.fullmatch(found.etag) else ""
    parts = urlsplit(hf_hub_url(repository, name, revision=commit, endpoint=endpoint))
    hosts = CONTENT_HOSTS | {parts.hostname or ""}
    remote = Remote(parts.geturl(), hosts, digest, found.size, parts.scheme)
    return HubFile(remote, commit, name)
