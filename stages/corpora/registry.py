"""Which reader understands which corpus.

A corpus is named after its publisher's layout, with a suffix where a variant lies beside it:
`ravdess` and `ravdess_grey` are both read by `ravdess.read`.
"""

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
from stages.runtime.errors import UserError

# Each has `read`. `OBTAIN` is what to do where the folder of the corpus is missing or empty, and
# `NAMES` what its files are called, both as the end of a message; `LICENCE`, on what terms it may
# be used and who grants them, is one line, "" where that is not known; `FIXED_SENTENCES` says
# whether all say the same few, so that a text tells the list or even the emotion. One of pictures
# has `STILLS`.
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


def layout_of(corpus: str) -> ModuleType:
    """The file that reads a corpus, by the corpus' name.

    Raises:
        UserError: no layout is known by that name.
    """
    layout = corpus.split("_")[0]
    if layout not in READERS:
        known = ", ".join(READERS)
        raise UserError(
            f"params.yaml: corpora: no reader for {corpus!r}; name it {known}, "
            "or one of these with a suffix (ravdess_small)"
        )
    return READERS[layout]
