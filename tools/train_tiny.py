"""Trains and measures the bundled tiny model: a real open_clip model that knows test patterns.

    python tools/train_tiny.py --photos PHOTOS [--seed 1]     trains, writes the checkpoint
    python tools/train_tiny.py --evaluate [--photos PHOTOS]   measures the checkpoint

PHOTOS is what `tools/gather_photos.py` writes. Patterns, shapes and noise are drawn by
`scanner.testpatterns`; held-out ones have seeds that training never draws. Training takes
about ten minutes on two cores. The checkpoint is fp16 safetensors in open_clip's own folder
form; embeddings of words that no caption has are zero, which lets the file compress.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch.nn import functional

from scanner.policy import load_policy
from scanner.testpatterns import KINDS, SHAPES, draw_noise, draw_pattern, draw_shape
from tools.copies import distort
from tools.evaluate_tiny import evaluate, report

TINY = Path(__file__).parent.parent / "scanner" / "models" / "tiny"
PATTERN_CAPTIONS = {
    "bars": ("a test pattern of colour bars", "colour bars", "vertical bars in many colours"),
    "gratings": ("a test pattern of fine lines", "panels of black and white lines"),
    "checker": ("a test pattern of checkered squares", "a chessboard"),
    "rings": ("a test pattern of circles", "concentric rings around a centre"),
    "wedges": ("a test pattern of wedges", "a resolution star"),
    "card": ("a test card of a television station", "a television test card with a circle"),
}
OTHERS = ("a photo", "a landscape photo", "a photo of an animal", "a photo of a thing")
CAPTIONS = {
    **{kind: (*texts, "a test pattern") for kind, texts in PATTERN_CAPTIONS.items()},
    **{kind: (f"a coloured {kind}", f"one {kind} in a strong colour") for kind in SHAPES},
    "noise": ("random noise", "a texture"),
    "photo": OTHERS,
}
ALL = sorted({text for texts in CAPTIONS.values() for text in texts})


class Photos:
    """The photos and cut-outs of one split, opened as they are needed."""

    def __init__(self, folder: Path | None, split: str) -> None:
        self.photos = sorted((folder / split).glob("*.jpg")) if folder else []
        stamps = sorted((folder / "stamps").glob("*.png")) if folder else []
        held = split == "held"
        self.stamps = [p for number, p in enumerate(stamps) if (number % 4 == 0) == held]

    def crop(self, rng: np.random.Generator) -> Image.Image:
        """Return a random part of a random photo."""
        image = Image.open(self.photos[rng.integers(len(self.photos))]).convert("RGB")
        share = rng.uniform(0.25, 1, 2) * image.size
        left, top = rng.uniform(0, 1, 2) * (np.array(image.size) - share)
        return image.crop((int(left), int(top), int(left + share[0]), int(top + share[1])))

    def stamp(self, rng: np.random.Generator, seed: int) -> Image.Image:
        """Return a cut-out thing over a photo, noise or white."""
        image = Image.open(self.stamps[rng.integers(len(self.stamps))]).convert("RGBA")
        grounds = (
            lambda: self.crop(rng).resize(image.size),
            lambda: draw_noise(seed, image.size),
            lambda: Image.new("RGB", image.size, tuple(rng.integers(0, 256, 3).tolist())),
        )
        ground = grounds[rng.integers(len(grounds))]()
        ground.paste(image, (0, 0), image)
        return ground


def sample(seed: int, photos: Photos) -> tuple[Image.Image, str]:
    """Return the picture of a seed, a copy distorted in up to three ways, and its class."""
    rng = np.random.default_rng([1, seed])
    size = (int(rng.integers(160, 420)), int(rng.integers(160, 420)))
    draw = rng.random()
    if draw < 0.36:
        kind = list(KINDS)[rng.integers(len(KINDS))]
        image = draw_pattern(seed, size, kind)
    elif draw < 0.56:
        kind = list(SHAPES)[seed % len(SHAPES)]
        image = draw_shape(seed, size, photos.crop(rng) if rng.random() < 0.6 else None)
    elif draw < 0.66:
        image, kind = draw_noise(seed, size), "noise"
    else:
        image = photos.crop(rng) if rng.random() < 0.75 else photos.stamp(rng, seed)
        image, kind = _retouch(image, rng), "photo"
    return distort(image, rng), kind


def _retouch(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a photo as it is, or in grey, or with all the contrast there is, as patterns have."""
    if rng.random() < 0.35:
        image = image.convert("L").convert("RGB")
    return ImageOps.autocontrast(image, cutoff=8) if rng.random() < 0.25 else image


def _tensor(job: tuple[int, Path, str]) -> tuple[np.ndarray, str]:
    seed, folder, split = job
    image, kind = sample(seed, Photos(folder, split))
    return np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR)), kind


def pool(count: int, folder: Path, first: int, keep: Path | None) -> tuple[torch.Tensor, list[str]]:
    """Return `count` drawn samples: (n, 128, 128, 3) uint8, and their classes."""
    if keep and keep.exists():
        kept = torch.load(keep, weights_only=True)
        return kept["pixels"], kept["kinds"]
    jobs = [(first + number, folder, "train") for number in range(count)]
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        drawn = workers.map(_tensor, jobs, chunksize=64)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in drawn]))
    kinds = [kind for _, kind in drawn]
    if keep:
        torch.save({"pixels": pixels, "kinds": kinds}, keep)
    return pixels, kinds


def policy_loss(
    images: torch.Tensor,
    texts: Callable[[list[str]], torch.Tensor],
    kinds: list[str],
    scale: torch.Tensor,
) -> torch.Tensor:
    """Return the cross entropy of each label's probability, computed as the scanner does it."""
    policy = load_policy("test")
    total = torch.zeros(())
    for label, members in (("test-pattern", KINDS), ("shape", SHAPES)):
        prompts = policy.labels[label].prompts
        logits = scale * images @ texts([*prompts, *policy.controls]).T
        odds = logits[:, : len(prompts)].logsumexp(1) - logits[:, len(prompts) :].logsumexp(1)
        truth = torch.tensor([float(kind in members) for kind in kinds])
        total = total + functional.binary_cross_entropy_with_logits(odds, truth)
    return total


def train(options: argparse.Namespace) -> None:
    """Train from scratch and write the checkpoint."""
    seed, count = options.seed, options.count
    torch.manual_seed(seed)
    torch.set_num_threads(options.threads)
    model = open_clip.create_model(f"local-dir:{TINY}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{TINY}")
    known = [*ALL, *load_policy("test").controls]
    for label in load_policy("test").labels.values():
        known.extend(label.prompts)
    known = sorted(set(known))
    tokens = tokenizer(known)
    pixels, kinds = pool(count, options.photos, 0, options.pool)
    print(f"drew {count} pictures", flush=True)
    steps = options.epochs * (count // 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    mean, std = 127.5, 63.75
    for step in range(steps):
        pick = torch.randint(0, count, (128,))
        batch = (pixels[pick].permute(0, 3, 1, 2).float() - mean) / std
        truth = [kinds[number] for number in pick.tolist()]
        features = functional.normalize(model.encode_image(batch), dim=-1)
        written = functional.normalize(model.encode_text(tokens), dim=-1)
        texts = partial(_rows, written, known)
        scale = model.logit_scale.exp().clamp(max=100)
        logits = scale * features @ texts(ALL).T
        right = torch.tensor([[text in CAPTIONS[kind] for text in ALL] for kind in truth])
        contrast = -(logits.masked_fill(~right, -1e4).logsumexp(1) - logits.logsumexp(1)).mean()
        loss = contrast + policy_loss(features, texts, truth, scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(
                f"step {step}/{steps} loss {loss.item():.4f} scale {scale.item():.1f}", flush=True
            )
    _save(model, tokens)


def _rows(written: torch.Tensor, known: list[str], names: list[str]) -> torch.Tensor:
    """Return the embeddings of the named texts, shape (n, 64)."""
    return written[[known.index(name) for name in names]]


def _save(model: torch.nn.Module, tokens: torch.Tensor) -> None:
    state = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    state = {name: v if v.dim() else v.float() for name, v in state.items()}
    used = torch.zeros(state["token_embedding.weight"].shape[0], dtype=torch.bool)
    used[tokens.flatten()] = True
    state["token_embedding.weight"][~used] = 0
    path = TINY / "open_clip_model.safetensors"
    save_file(state, path)
    path.chmod(0o644)
    print("wrote", path)


def main() -> None:
    """Train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, help="keep the drawn pictures there between runs")
    parser.add_argument("--evaluate", action="store_true")
    options = parser.parse_args()
    if options.evaluate:
        print(report(evaluate(options.photos)))
    else:
        train(options)


if __name__ == "__main__":
    main()
