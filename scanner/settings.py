"""The scanner's part of the config file (`[scanner]`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ScannerSettings(BaseModel):
    """Which model judges by which policy, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: this process never scans; it reuses, and leaves scanning to others."""
    preload: bool = True
    """False: `serve` loads the model at the first picture that needs it, not at its start."""
    policy: str = "test"
    """A shipped policy, `test` or `default`, or the path of a policy file."""
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
