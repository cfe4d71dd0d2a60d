"""The same scores, faster, on a CUDA device; skipped, with the reason, where there is none.

What runs on any device (buffers, batches, threads, precision, padding) is tested on the CPU in
`test_clip.py`; here is what only a GPU has: pinned memory, streams and events, real compiling.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import draw_pattern
from tests.waiting import PATIENCE

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
if not torch.cuda.is_available():
    pytest.skip("torch finds no CUDA device on this machine", allow_module_level=True)

from scanner.classifiers.clip import ClipClassifier  # noqa: E402

POLICY = load_policy("test")
WITHIN = {"fp32": 5, "bf16": 600, "fp16": 200}
"""Of 10,000: how far scores may be from a CPU's in fp32."""


def load(**others):
    settings = {"device": "cuda", "backend": "torch", "compile": False, "batch": 16, **others}
    return ClipClassifier.load(ScannerSettings.model_validate(settings), POLICY)


@pytest.fixture(scope="module")
def on_cpu():
    return load(device="cpu")


@pytest.fixture(scope="module")
def pixels(on_cpu):
    side = on_cpu.preprocess.height
    return on_cpu.preprocess.apply([draw_pattern(at, (side, side)) for at in range(100)])


def largest_difference(one, other):
    return max(abs(a[label] - b[label]) for a, b in zip(one, other, strict=True) for label in a)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_scores_as_the_cpu_does(on_cpu, pixels, precision):
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bf16")
    found = load(precision=precision).score(pixels)
    assert largest_difference(found, on_cpu.score(pixels)) <= WITHIN[precision]


def test_the_bundled_model_is_the_same_pipeline_as_on_a_cpu(on_cpu):
    classifier = load()
    assert classifier.pipeline_id == on_cpu.pipeline_id
    assert next(classifier.parts().model.visual.parameters()).is_cuda


def test_scores_are_the_same_again_and_again(pixels):
    """A buffer overwritten before its copy was done would show here."""
    classifier = load(precision="fp32")
    wanted = classifier.score(pixels)
    for _ in range(30):
        assert classifier.score(pixels) == wanted


def test_two_threads_keep_their_pixels_apart(pixels):
    classifier = load(precision="fp32")
    parts = [pixels[:50], pixels[50:]]
    wanted = [classifier.score(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(30):
            found = list(pool.map(classifier.score, parts * 2, timeout=PATIENCE))
            assert found == wanted * 2


def test_the_buffers_are_pinned_and_the_memory_of_the_text_tower_is_free(pixels):
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    classifier = load(precision="bf16")
    slot = classifier._runner._free.get()
    classifier._runner._free.put(slot)
    assert slot.here.is_pinned()
    assert slot.scores.is_pinned()
    weights = sum(
        value.numel() * value.element_size() for value in classifier.parts().model.parameters()
    )
    buffers = 3 * slot.there.numel()
    assert torch.cuda.memory_allocated() - before < 1.2 * (weights + buffers) + 4_000_000


@pytest.mark.slow
def test_a_compiled_tower_scores_the_same_without_compiling_again(on_cpu, pixels):
    counters = torch._dynamo.utils.counters
    classifier = load(compile=True)
    assert classifier.is_compiled
    before = counters["stats"]["unique_graphs"]
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(classifier.score, [pixels, pixels[:33], pixels[:7]] * 3):
            wanted = on_cpu.score(pixels)[: len(found)]
            assert largest_difference(found, wanted) <= max(WITHIN.values())
    assert counters["stats"]["unique_graphs"] == before
