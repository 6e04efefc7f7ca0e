"""A folder that is gone when this process is, however it ends."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What this process has started may still write when it ends, for as long as it takes to kill it.
CLEAN_UP = 'cat; sleep 1; rm -rf -- "$1"'


@contextlib.contextmanager
def passing_folder(prefix: str) -> Iterator[Path]:
    """A new folder for this user alone, which is deleted even where this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    cleaner = subprocess.Popen(
        ["sh", "-c", CLEAN_UP, "sh", str(folder)],
        stdin=subprocess.PIPE,  # which the system closes with this process
        start_new_session=True,  # Ctrl-C is not meant for it
    )
    try:
        yield folder
    finally:
        assert cleaner.stdin is not None
        shutil.rmtree(folder, ignore_errors=True)
        cleaner.stdin.close()
