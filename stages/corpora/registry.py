"""Which reader understands which corpus.

A corpus is named after its publisher's layout, with a suffix where a variant lies beside it:
`ravdess` and `ravdess_grey` are both read by `ravdess.read`.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from stages.corpora import (
    affectnet,
    ck,
    cremad,
    emodb,
    enterface,
    fer2013,
    folder,
    iemocap,
    meld,
    mspimprov,
    rafdb,
    ravdess,
    savee,
    stills,
    tess,
)
from stages.corpora import synthetic as sample
from stages.corpora.utterance import Listing
from stages.runtime.errors import UserError

# Each has `read`; `OBTAIN`, what to do where the folder of the corpus is not there; `NAMES`, what
# its files must be called; `LICENCE` and `FIXED_SENTENCES`, which the functions below explain. One
# of pictures has `STILLS`.
READERS: dict[str, ModuleType] = {
    "affectnet": affectnet,
    "ck": ck,
    "cremad": cremad,
    "emodb": emodb,
    "enterface": enterface,
    "fer2013": fer2013,
    "folder": folder,
    "iemocap": iemocap,
    "meld": meld,
    "mspimprov": mspimprov,
    "rafdb": rafdb,
    "ravdess": ravdess,
    "sample": sample,
    "savee": savee,
    "stills": stills,
    "tess": tess,
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


def holds_stills(corpus: str) -> bool:
    """Whether a corpus is one of pictures.

    Raises:
        UserError: no layout is known by that name.
    """
    return hasattr(_layout(corpus), "STILLS")


def licence_of(corpus: str) -> str:
    """On what terms a corpus may be used and who grants them, a line; "" where that is not known.

    Raises:
        UserError: no layout is known by that name.
    """
    return _layout(corpus).LICENCE


def has_fixed_sentences(corpus: str) -> bool:
    """Whether all say the same few sentences, so that a text tells the list or even the emotion.

    Raises:
        UserError: no layout is known by that name.
    """
    return _layout(corpus).FIXED_SENTENCES


def _layout(corpus: str) -> ModuleType:
    layout = corpus.split("_")[0]
    if layout not in READERS:
        known = ", ".join(READERS)
        raise UserError(
            f"params.yaml: corpora: no reader for {corpus!r}; name it {known}, "
            "or one of these with a suffix (ravdess_small)"
        )
    return READERS[layout]
