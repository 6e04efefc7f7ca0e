"""Memory that is freed, and asked for again a moment later.

By its own rules the C library gives large blocks back to the system as soon as they are free. What
each layer of a backbone gives then lies in new pages each time, and each page costs a fault: a
quarter of the time went there.

Only for PyTorch, which aligns its blocks itself. What NumPy and SciPy compute in blocks that lie
elsewhere each time may differ in its last bits: log-Mel spectrograms did.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
MOST = (1 << 31) - 1  # mallopt takes an int


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to 2 GB; see mallopt(3).

    At its peak it may need more, as not every new block fits where an old one was: `features` 1.7
    to 2.4 GB in place of 1.6. Does nothing without glibc's `mallopt`.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)  # blocks with pages of their own are never kept
        library.mallopt(M_TRIM_THRESHOLD, MOST)
