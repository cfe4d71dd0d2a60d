"""The executable: joins federation, scanner and cache; nothing imports it."""

import os

# numpy's BLAS threads spin: on a machine whose cores are busy they make PDQ ten times slower,
# and its matrices are too small to gain by them. Must be set before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
