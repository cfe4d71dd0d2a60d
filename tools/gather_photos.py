"""Gathers the photos that `tools/train_tiny.py` learns from, out of unpacked packages.

They are used for training only and never shipped. Ours came from the Debian packages
gnome-backgrounds, lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds,
palapeli-data, plasma-workspace-wallpapers, ukui-wallpapers and tuxpaint-stamps-default
(unpacked with `dpkg -x`), and from the pictures inside scikit-learn and scikit-image
(motorcycle). One picture a subject; every fourth is held out. The demo's photos are not here.

    python tools/gather_photos.py FOLDER_WITH_UNPACKED_PACKAGES PHOTOS
"""

import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

SHORT_SIDE = 600
DRAWN = re.compile(
    r"screenshot|images_dark|charmap|/doc/|[Ss]tripes|grid-|truchet|symbolic|pixels-|[Ss]way|"
    r"Ubuntu-Mate|Float|analogpattern|Arc-Colors|rollpaper|GreenTraditional|seeding|_\d+x\d+|"
    r"1080x1920|720x1440|1622x"
)
NO_STAMP = re.compile(
    r"symbols|cartoon|shapes|easter|hanukkah|clothes|roadsigns|flags|mirror|people|military|"
    r"seasonal|newyears"
)


def main() -> None:
    """Write PHOTOS/train, PHOTOS/held (photos) and PHOTOS/stamps (cut-outs with alpha)."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    for number, path in enumerate(_photos(source)):
        folder = target / ("held" if number % 4 == 0 else "train")
        _save(path, folder / f"{number:03d}.jpg")
    stamps = sorted(p for p in source.rglob("*.png") if "tuxpaint" in str(p))
    for number, path in enumerate(p for p in stamps if not NO_STAMP.search(str(p))):
        _save(path, target / "stamps" / f"{number:03d}.png")


def _photos(source: Path) -> Iterable[Path]:
    found = [p for p in source.rglob("*") if p.suffix in {".jpg", ".png", ".webp"}]
    found = [p for p in found if "tuxpaint" not in str(p) and not DRAWN.search(str(p))]
    subjects: dict[str, Path] = {}
    for path in sorted((p for p in found if p.stat().st_size > 40_000), key=_size):
        subject = str(path.parent if path.parent.name == "images" else path)
        subjects["sklearn" + path.name if "sklearn" in subject else subject] = path
    paths = [
        subjects[name] for name in sorted(subjects, key=lambda name: name.split("/share/")[-1])
    ]
    random.Random(1).shuffle(paths)
    return paths


def _size(path: Path) -> tuple[int, str]:
    return path.stat().st_size, str(path)


def _save(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(path).convert("RGBA" if target.suffix == ".png" else "RGB")
    ratio = min(SHORT_SIDE / min(image.size), 1)
    size = (round(image.width * ratio), round(image.height * ratio))
    image.resize(size).save(target, quality=92)


if __name__ == "__main__":
    main()
