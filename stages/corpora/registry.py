"""Which reader understands which corpus.

A corpus is named after its publisher's layout, with a suffix where a variant lies beside it:
`ravdess` and `ravdess_grey` are both read by `ravdess.read`.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from stages.corpora import cremad, folder, meld, ravdess, savee
from stages.corpora import synthetic as sample
from stages.corpora.utterance import Listing
from stages.runtime.errors import UserError

# Each has `read`; `OBTAIN`, what to do where the folder of the corpus is not there; and `NAMES`,
# what its files must be called.
READERS: dict[str, ModuleType] = {
    "cremad": cremad,
    "folder": folder,
    "meld": meld,
    "ravdess": ravdess,
    "sample": sample,
    "savee": savee,
}


def reader(corpus: str) -> Callable[[Path, str], Listing]:
    """The reader of a corpus by its name.

    Raises:
        UserError: no layout is known by that name.
    """
    return _layout(corpus).read


def how_to_obtain(corpus: str) -> str:
    """What to do where the folder of a corpus is missing or empty, as the end of a message.

    Raises:
        UserError: no layout is known by that name.
    """
    return _layout(corpus).OBTAIN


def how_to_name(corpus: str) -> str:
    """What the files of a corpus are called, as the end of a message.

    Raises:
        UserError: no layout is known by that name.
    """
    return _layout(corpus).NAMES


def _layout(corpus: str) -> ModuleType:
    layout = corpus.split("_")[0]
    if layout not in READERS:
        known = ", ".join(READERS)
        raise UserError(
            f"params.yaml: corpora: no reader for {corpus!r}; name it {known}, "
            "or one of these with a suffix (ravdess_small)"
        )
    return READERS[layout]
