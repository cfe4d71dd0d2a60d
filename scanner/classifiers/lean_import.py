"""Imports open_clip without torchvision, timm and transformers, where the model needs none of them.

open_clip imports all three at its top, but uses torchvision for transforms that are not used
here, and the others for some architectures only. Left out, a scanning process is some 185 MB
smaller and starts two seconds earlier (docs/models.md). What is imported so is kept to
ourselves: another `import open_clip` in the process gets the whole of it. When anything goes
wrong, the whole is imported, which is the plain way.
"""

import importlib
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.misc",
)
ABSENT = ("timm", "transformers")
NEEDS_ALL = ("timm_model_name", "hf_model_name", "hf_tokenizer_name")
"""Keys of a model's configuration that name parts of timm or transformers."""

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_lean: list[ModuleType] = []


def open_clip_for(model_config: Mapping[str, Any] | None) -> ModuleType:
    """Return open_clip, the whole of it unless that configuration is known to need less.

    Raises ModuleNotFoundError where open_clip or torch is not installed.
    """
    if model_config is None or needs_all(model_config) or "torchvision" in sys.modules:
        return importlib.import_module("open_clip")
    with _lock:
        if not _lean:
            _lean.append(_import_lean())
        return _lean[0]


def needs_all(model_config: Mapping[str, Any]) -> bool:
    """Tell whether a model's configuration names parts of timm or transformers."""
    parts = [part for part in model_config.values() if isinstance(part, Mapping)]
    return any(part.get(key) for part in parts for key in NEEDS_ALL)


def builtin_config(architecture: str) -> dict[str, Any] | None:
    """Return the configuration of an architecture that open_clip ships, without importing it."""
    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / "model_configs" / f"{architecture}.json"
        if path.name == f"{architecture}.json" and path.is_file():
            config = json.loads(path.read_text("utf-8"))
            return config if isinstance(config, dict) else None
    return None


def _import_lean() -> ModuleType:
    try:
        with _stand_ins():
            return importlib.import_module("open_clip")
    except Exception as error:  # noqa: BLE001  another open_clip may use more of torchvision
        logger.info("open_clip is imported whole: %s", error)
        return importlib.import_module("open_clip")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Have stand-ins imported for what is left out; leave `sys.modules` as it was."""
    mine = {name: module for name, module in sys.modules.items() if _is_theirs(name)}
    for name in mine:
        del sys.modules[name]
    stand_ins: dict[str, Any] = {name: _StandIn(name) for name in TORCHVISION}
    sys.modules.update(stand_ins | dict.fromkeys(ABSENT))
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_theirs(name)]:
            del sys.modules[name]
        sys.modules.update(mine)


def _is_theirs(name: str) -> bool:
    return name.partition(".")[0] in {"open_clip", "torchvision", *ABSENT}


class _Named(type):
    """A class whose attributes are their own names, as an enum's members in a default would be."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StandIn(ModuleType):
    """A module in which every name is an empty class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or _Named(name, (), {})
