"""The scanner's part of the config file (`[scanner]`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
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
    them, for example `ViT-L-14/openai`, or the path of a checkpoint."""
    architecture: str | None = None
    """The open_clip architecture of a checkpoint given by its path: a name, or a JSON file."""
    weights_sha256: HexDigest | None = None
    """The SHA-256 the checkpoint must have, in lower-case hex; any other is refused."""
    weights_folder: Path | None = None
    """Where downloaded weights are kept; the default is open_clip's own cache."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Frames judged in one run of the image tower."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of the model; 0 leaves torch's own default."""
    decoders: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that decode pictures; 0 takes as many as there are cores, 8 at most."""
    decode_seconds: Annotated[int, Field(ge=1, le=3_600)] = 20
    """For decoding one picture; past it the picture is undecodable."""
    decoder_bytes: Annotated[int, Field(ge=300_000_000)] = 1_500_000_000
    """Bytes of memory that one decoder process may take; past it a picture is over-limit."""
    shadow: ShadowSettings = ShadowSettings()


def shadow_settings(settings: ScannerSettings) -> ScannerSettings:
    """Return the settings that load the classifier in shadow."""
    shadow = settings.shadow
    return settings.model_copy(
        update={
            "policy": shadow.policy,
            "model": shadow.model,
            "architecture": shadow.architecture,
            "weights_sha256": shadow.weights_sha256,
        }
    )
