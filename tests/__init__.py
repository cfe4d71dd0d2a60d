"""The tests mirror the tree; tests/e2e runs real processes, tests/fakes holds a whole peer."""

import fediverdict  # noqa: F401  first: it sets how many threads numpy's BLAS takes
