"""Reproducible measurements beside a peer in one run, with their results."""

import fediverdict  # noqa: F401  first: it sets how many threads numpy's BLAS takes
