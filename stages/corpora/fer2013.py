"""FER-2013 (Goodfellow et al. 2013): 35,887 grey faces of 48 x 48 pixels found on the web.

    train/angry/Training_3908.jpg
    test/angry/PublicTest_10118481.jpg, test/angry/PrivateTest_88305.jpg

The folder says the emotion and the name the part: PublicTest is the official dev part, PrivateTest
the test part. As fer2013.csv, which has the pixels as text, it is not read. Who is shown is not
known. Many pictures are in it more than once (set `duplicates: drop`), and of its labels people
agree with about two thirds.
"""

import re
from pathlib import Path

from stages.corpora.still import is_still
from stages.corpora.stills import emotion_of_folder
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below

NAME = re.compile(r"(?P<part>Training|PublicTest|PrivateTest)_[0-9]+", re.ASCII | re.IGNORECASE)
SPLIT = {"training": "train", "publictest": "dev", "privatetest": "test"}
EMOTION_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
OFFICIAL = {
    (split, emotion): count
    for split, counts in {
        "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
        "dev": (467, 56, 496, 895, 653, 415, 607),
        "test": (491, 55, 528, 879, 594, 416, 626),
    }.items()
    for emotion, count in zip(EMOTION_ORDER, counts)
}
STILLS = True
LICENCE = "not known: the pictures were found on the web (none is granted by their owners)"
FIXED_SENTENCES = False
OBTAIN = (
    "put or link its folders train and test of pictures there (https://www.kaggle.com/datasets/"
    "msambare/fer2013); fer2013.csv is not read"
)
NAMES = "name them like train/angry/Training_3908.jpg; fer2013.csv is not read"


def read(root: Path, corpus: str) -> Listing:
    """List the pictures below `root`."""
    listing = Listing(official=OFFICIAL)
    recordings: dict[str, Path] = {}
    for path in files_below(root):
        name, match = path.relative_to(root), NAME.fullmatch(COPY.sub("", path.stem))
        emotion = emotion_of_folder(name)
        if not is_still(path) or not match or not emotion:
            continue
        split = SPLIT[match["part"].lower()]
        identity = f"{corpus}/{match[0]}"
        item = Utterance(identity, "", emotion, split=split, video=name.as_posix())
        if (first := recordings.setdefault(identity, path)) != path:
            listing.exclude_copy(item, path, first, root)
        else:
            listing.utterances.append(item)
    return listing
