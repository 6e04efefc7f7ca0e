"""Pictures of faces with a folder for each emotion: of your own, or a corpus in that layout.

    happy/anything.jpg     also anger/, Sad/, train/surprise/, ... at any depth

The innermost folder that is named like an emotion, or a synonym of one (angry, joy), says it. A
picture is a face that counts once. Who is shown is not known: no protocol can keep people apart
that are in several pictures, and nobody of another corpus is taken for one of them.
"""

from pathlib import Path

from stages.corpora.annotations import SYNONYMS
from stages.corpora.emotions import EMOTIONS
from stages.corpora.still import is_still
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import files_below

STILLS = True
LICENCE = ""  # only their owner knows
FIXED_SENTENCES = False
OBTAIN = "put or link a folder there in which there is a folder of pictures for each emotion"
NAMES = f"put them in folders named {', '.join(EMOTIONS)}, or a synonym of these (angry, joy)"


def read(root: Path, corpus: str) -> Listing:
    """List the pictures below `root` that lie in a folder named like an emotion."""
    listing = Listing()
    for path in files_below(root):
        name = path.relative_to(root)
        emotion = emotion_of_folder(name)
        if emotion and is_still(path):
            item = Utterance(f"{corpus}/{name.as_posix()}", "", emotion, video=name.as_posix())
            listing.utterances.append(item)
    return listing


def emotion_of_folder(path: Path) -> str:
    """The emotion that the innermost folder is named after that is named after one; or ""."""
    words = (part.casefold() for part in reversed(path.parent.parts))
    return next((name for word in words if (name := SYNONYMS.get(word, word)) in EMOTIONS), "")
