"""Which reader understands which corpus.

A corpus is named after its publisher's layout, with a suffix where a variant lies beside it:
`ravdess` and `ravdess_grey` are both read by `ravdess.read`.
"""

from collections.abc import Callable
from pathlib import Path

from stages.corpora import ravdess, sample
from stages.corpora.utterance import Listing
from stages.failures import UserError

READERS: dict[str, Callable[[Path, str], Listing]] = {
    "ravdess": ravdess.read,
    "sample": sample.read,
}


def reader(corpus: str) -> Callable[[Path, str], Listing]:
    """The reader of a corpus by its name.

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
