"""The pipeline: a script a stage, and rooms with one purpose each (README.md).

What is set here must be set before any library is imported.
"""

import contextlib
import os


def _find_room_for_caches() -> None:
    """Where there is no home folder that can be written to, keep caches in data/ instead.

    Clips and weights have theirs there; numba, which librosa uses, cannot be imported without.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        with contextlib.suppress(OSError):
            os.makedirs(home, exist_ok=True)
        if os.access(home, os.W_OK | os.X_OK):
            return
    own = os.path.abspath("data/.cache")
    os.environ["XDG_CACHE_HOME"] = own
    os.environ.setdefault("NUMBA_CACHE_DIR", f"{own}/numba")
    os.environ.setdefault("MPLCONFIGDIR", f"{own}/matplotlib")


_find_room_for_caches()
