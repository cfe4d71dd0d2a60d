"""Writes pdq_vectors.json with pdqhash 0.2.8; run where that is installed (it needs g++).

python -m tests.scanner.decoding.make_pdq_vectors
"""

import json
from pathlib import Path

import numpy as np
import pdqhash  # type: ignore[import-not-found]

from tests.scanner.drawings import thumbnails


def vector(image):
    """The eight hashes in hex and the quality, as the library gives them."""
    hashes, quality = pdqhash.compute_dihedral(np.stack([np.asarray(image)] * 3, axis=2))
    return {"hashes": [np.packbits(bits).tobytes().hex() for bits in hashes], "quality": quality}


if __name__ == "__main__":
    vectors = {name: vector(image) for name, image in thumbnails().items()}
    path = Path(__file__).parent / "pdq_vectors.json"
    path.write_text(json.dumps(vectors, indent=1) + "\n")
