"""Cache: where the cache of processed clips lies, and how large it is.

    python -m stages cache            # where it lies, and how large it is
    python -m stages cache --clear    # empty it; the next run works on every clip anew

In:  the folder named in stages/extraction/clip_cache.py
Out: on stdout its entries and bytes, stage by stage
"""

import argparse
from collections.abc import Sequence

from stages.extraction.clip_cache import ENTRY, cache_folder
from stages.runtime.errors import UserError


def main(words: Sequence[str]) -> None:
    """Report on the cache, and empty it if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m stages cache",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clear", action="store_true", help="delete all entries")
    clear = parser.parse_args(words).clear
    folder = cache_folder()
    print(f"{folder}:")
    for stage in sorted(path for path in folder.glob("*") if path.is_dir()):
        entries = list(stage.glob(ENTRY))
        size = sum(entry.stat().st_size for entry in entries)
        if entries:
            print(f"  {stage.name}: {len(entries)} clips, {size / 1e6:.1f} MB")
        try:
            for entry in entries if clear else ():
                entry.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{entry}: cannot be deleted: {error.strerror}; fix permissions"
            ) from error
    if clear:
        print("emptied")
