"""Memory that is freed, and asked for again a moment later.

By its own rules the C library gives large blocks back to the system as soon as they are free. A
frame, a spectrogram or a layer's output then lies in new pages each time, and each page costs a
fault: a third of the time of `mels` and a quarter of that of the backbone went there.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
MOST = (1 << 31) - 1  # mallopt takes an int


def keep_freed_memory(most: int = MOST) -> None:
    """Let this process keep up to `most` bytes that it freed; see mallopt(3).

    At its peak it may need more, as not every new block fits where an old one was: `features` 1.7
    to 2.4 GB in place of 1.6. Does nothing without glibc's `mallopt`.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)  # blocks with pages of their own are never kept
        library.mallopt(M_TRIM_THRESHOLD, most)
