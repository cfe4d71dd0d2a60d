"""The scanner's part of the config file (`[scanner]`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
OutputName = Annotated[str, Field(min_length=1, max_length=200)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strictness = Literal["strict", "balanced", "lenient"]
"""The dial: strict finds more and errs more often, lenient the other way."""


class ShadowSettings(BaseModel):
    """A second pipeline that scores along without deciding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    """True: every picture that is scanned is scored by this pipeline as well, for comparison."""
    policy: str = "test"
    model: str = "bundled"
    architecture: str | None = None
    weights_sha256: HexDigest | None = None
    """The last four mean what they mean under [scanner]; all else is as it stands there."""


class OnnxModelSettings(BaseModel):
    """Any ONNX classifier: what its input looks like, and what its outputs mean.

    A pixel's colour c, 0..255, goes in as (c * scale - mean) / std.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: Annotated[tuple[OutputName, ...], Field(min_length=1, max_length=10_000)]
    """What the numbers of the output stand for, in their order; names of your choice."""
    labels: Annotated[dict[str, tuple[OutputName, ...]], Field(min_length=1, max_length=64)]
    """Label of the policy -> the outputs that speak for it."""
    combine: Literal["sum", "max"] = "sum"
    """What several outputs of one label make; a sum over 1 counts as 1."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What makes the numbers probabilities, where the file does not do so itself."""
    input: str | None = None
    """The name of the input; needed only where there are several."""
    output: str | None = None
    """The name of the output with the numbers, (n, outputs); the default is the first."""
    height: Annotated[int, Field(ge=1, le=2048)] | None = None
    width: Annotated[int, Field(ge=1, le=2048)] | None = None
    """Pixels; the default is what the file says."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    colours: Literal["RGB", "BGR"] = "RGB"
    scale: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 1 / 255
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    std: tuple[Deviation, Deviation, Deviation] = (1.0, 1.0, 1.0)
    """Of the three colours, in the order that the model reads them."""
    resize: Literal["squash", "longest"] = "squash"
    """`squash` stretches the picture to the size, `longest` keeps its shape and fills the rest."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    """Grey of what `longest` leaves empty."""
    precision: Annotated[str, Field(min_length=1, max_length=64)] = "fp32"
    """What the pipeline's description says of the file's numbers."""


class ScannerSettings(BaseModel):
    """Which model judges by which policy, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: this process never scans; it reuses, and leaves scanning to others."""
    preload: bool = True
    """False: `serve` loads the model at the first picture that needs it, not at its start."""
    policy: str = "test"
    """A shipped policy, `test` or `default`, or the path of a policy file."""
    strictness: Strictness = "balanced"
    """Which of the policy's thresholds count: `strict`, `balanced` or `lenient`."""
    calibration_pictures: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Harmless pictures, different files, that `policy calibrate` must have scored to count."""
    model: str = "bundled"
    """`bundled` (knows test patterns only), `ARCHITECTURE/PRETRAINED` as open_clip names
    them, for example `ViT-L-14/openai`, the path of a checkpoint or of an ONNX file, or
    `plugin:NAME` for a classifier that another package brings."""
    architecture: str | None = None
    """The open_clip architecture of a checkpoint given by its path: a name, or a JSON file."""
    weights_sha256: HexDigest | None = None
    """The SHA-256 the checkpoint must have, in lower-case hex; any other is refused."""
    weights_folder: Path | None = None
    """Where downloaded weights are kept; the default is `~/.cache/fediverdict/weights`."""
    weights_from: Literal["hub", "url"] = "hub"
    """Where a pretrained tag is fetched: the model hub that open_clip names for it, or the URL it
    names, which some tags have."""
    weights_revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "main"
    """The hub's revision to fetch: a branch, a tag or a commit; a commit never changes."""
    weights_bytes: Annotated[int, Field(ge=1)] = 12_000_000_000
    """The largest checkpoint that is downloaded, in bytes."""
    weights_stall_seconds: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """A download that brings under 64 KiB for so long is asked for again where it stopped."""
    backend: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the model. `auto`: in `scan` and `worker` torch where a GPU is, else ONNX Runtime;
    in `serve` and `watch` ONNX Runtime; torch where no exported file is there."""
    onnx: Path | None = None
    """A file that `fediverdict model export` made; the default is looked for in exports_folder."""
    exports_folder: Path = Path("exports")
    """Where `fediverdict model export` writes, and where its files are looked for."""
    onnx_model: OnnxModelSettings | None = None
    """How pictures go into, and scores come out of, any other ONNX file that `model` names."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """What torch computes the image tower in, part of the pipeline. `auto`: bf16 on a CUDA device
    that has it, fp16 on any other, fp32 elsewhere and for small models."""
    compile: Literal["auto"] | bool = "auto"
    """Whether torch compiles the image tower, which takes a minute at loading; `auto`: on CUDA,
    but no small model."""
    batch: Annotated[int, Field(ge=0, le=1024)] = 0
    """Inputs judged in one run of the image tower; 0: 8 on a CPU, 64 on a GPU."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of the model; 0: torch's own default, or every core for ONNX Runtime."""
    decoders: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that decode pictures; 0 takes as many as there are cores, 8 at most."""
    decode_seconds: Annotated[int, Field(ge=1, le=3_600)] = 20
    """For decoding one picture; past it the picture is undecodable."""
    decoder_bytes: Annotated[int, Field(ge=300_000_000)] = 1_500_000_000
    """Bytes of memory that one decoder process may take; past it a picture is over-limit."""
    shadow: ShadowSettings = ShadowSettings()


CPU_BATCH, GPU_BATCH = 8, 64
"""Inputs; a CPU gains nothing beyond the first, a GPU is full with the second."""


def batch_of(settings: ScannerSettings, *, has_device: bool) -> int:
    """Return how many inputs are judged at once, by a GPU or without one."""
    return settings.batch or (GPU_BATCH if has_device else CPU_BATCH)


def shadow_settings(settings: ScannerSettings) -> ScannerSettings:
    """Return the settings that load the classifier in shadow."""
    shadow = settings.shadow
    return settings.model_copy(
        update={
            "policy": shadow.policy,
            "model": shadow.model,
            "architecture": shadow.architecture,
            "weights_sha256": shadow.weights_sha256,
            "weights_revision": "main",  # that of another model's repository
            "onnx": None,  # it holds one model by one policy
            "onnx_model": settings.onnx_model if shadow.model.endswith(".onnx") else None,
        }
    )
