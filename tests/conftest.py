"""What all tests share: one thread each, and examples that are the same every time."""

import os

# Small tensors lose more than they gain by threads, most of all where others use the cores too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
