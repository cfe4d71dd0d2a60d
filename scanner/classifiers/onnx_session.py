"""Opens an ONNX file in ONNX Runtime, within bounds; the one file that imports onnxruntime.

Threads wait instead of spinning, so that decoding gets the cores meanwhile. The arena keeps
freed memory for the next batch: without it every batch maps and unmaps its memory anew, which
took half as long again; planning by pattern keeps one plan for each batch size and is off. One
run at a time: what a batch needs is bounded by `scanner.batch`. A GPU is used when
`scanner.device` names it, and never in silence a CPU instead.
"""

import os
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.classifiers.onnx_file import OnnxFile, read_onnx_file
from scanner.errors import ModelError
from scanner.settings import ScannerSettings

NO_ONNX = "an ONNX file needs ONNX Runtime: pip install 'fediverdict[onnx]'"
CPU = "CPUExecutionProvider"
OPTIONS = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "CoreMLExecutionProvider": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"},
}
"""So that fp32 stays fp32: a pipeline of that name is computed in it."""
PROVIDERS = {
    "auto": (CPU,),
    "cpu": (CPU,),
    "cuda": ("CUDAExecutionProvider", "MIGraphXExecutionProvider", "ROCMExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
}
"""`scanner.device` -> what runs it, the first there is; ONNX Runtime is built for one or two."""
ERRORS_ONLY = 3

Floats = NDArray[np.float32]


def is_importable(name: str) -> bool:
    """Tell whether a module can be imported, without importing it."""
    try:
        return find_spec(name) is not None
    except ValueError:  # a module that was barred from being imported
        return False


class OnnxSession:
    """One ONNX file, loaded and ready to run; safe to call from threads."""

    def __init__(self, path: Path, settings: ScannerSettings) -> None:
        self.path = path
        read_whole(path)
        self._session = _open(path, settings)
        self._lock = threading.Lock()
        self.provider: str = self._session.get_providers()[0]

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, as ONNX Runtime reads them."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Name -> type and shape of each input; None where any length will do."""
        return {one.name: (one.type, _shape(one.shape)) for one in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Name -> type and shape of each output."""
        return {one.name: (one.type, _shape(one.shape)) for one in self._session.get_outputs()}

    def run(self, output: str, feed: dict[str, NDArray[Any]]) -> Floats:
        """Return one output for the inputs; raises ModelError."""
        try:
            with self._lock:
                (found,) = self._session.run([output], feed)
        except Exception as error:  # onnxruntime's errors have no base but Exception
            raise ModelError(f"{self.path} cannot judge: {_first_line(error)}") from error
        return np.asarray(found, np.float32)


def read_whole(path: Path) -> OnnxFile:
    """Return what a file says of itself; raises ModelError where weights lie in other files."""
    found = read_onnx_file(path)
    if not found.is_whole:
        raise ModelError(
            f"{path} keeps weights in other files, which are not read: "
            "save it as one file (onnx.save with save_as_external_data=False)"
        )
    return found


def _open(path: Path, settings: ScannerSettings) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  an extra, and 0.2 s
    except ModuleNotFoundError as error:
        raise ModelError(NO_ONNX) from error
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or _cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    provider = _provider(settings.device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[(provider, OPTIONS.get(provider, {}))]
        )
    except Exception as error:
        raise ModelError(f"ONNX Runtime refuses {path}: {_first_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise ModelError(
            f"scanner.device is {settings.device}, but ONNX Runtime cannot use it here: "
            "its libraries are missing or no such device is there; use auto or cpu"
        )
    return session


def _cores() -> int:
    """Return how many cores this process may use; left to itself, ONNX Runtime takes them all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _provider(device: str, available: Sequence[str]) -> str:
    found = next((name for name in PROVIDERS[device] if name in available), None)
    if found is None:
        raise ModelError(
            f"scanner.device is {device}, which this build of ONNX Runtime cannot use; "
            'use auto or cpu, or scanner.backend = "torch"'
        )
    return found


def _shape(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(length if isinstance(length, int) else None for length in shape)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
