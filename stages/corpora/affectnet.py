"""AffectNet (Mollahosseini et al. 2017; http://mohammadmahoor.com/affectnet/): faces from the web.

    train_set/images/0.jpg, train_set/annotations/0_exp.npy       287,651 of eight expressions
    val_set/images/0.jpg, val_set/annotations/0_exp.npy           3,999

These are the 291,650 pictures that were labelled by hand. An annotation is a file of NumPy with a
number; those of valence, arousal and landmarks (_val, _aro, _lnd) are not needed. Contempt (7) is
left out by rule. val_set is the official test part, as the publisher's own is not given out. Who is
shown is not known.
"""

import re
from pathlib import Path

import numpy as np

from stages.corpora.still import is_still
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import files_below
from stages.runtime.errors import UserError

SPLIT = {"train_set": "train", "val_set": "test"}
NUMBER = re.compile("[0-9]+", re.ASCII)
EMOTION = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
}
OFFICIAL = {
    (split, emotion): count
    for split, counts in {
        "train": (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750),
        "test": (500, 500, 500, 500, 500, 500, 500, 499),
    }.items()
    for emotion, count in zip(EMOTION.values(), counts)
}
STILLS = True
LICENCE = "for research, by an agreement; not to be passed on (granted by University of Denver)"
FIXED_SENTENCES = False
OBTAIN = (
    "ask for it at http://mohammadmahoor.com/affectnet/ (it cannot be downloaded without), then "
    "put or link the folder with train_set and val_set there"
)
NAMES = "name them like train_set/images/0.jpg, with train_set/annotations/0_exp.npy beside them"


def read(root: Path, corpus: str) -> Listing:
    """List the annotations below `root`, with their pictures.

    Raises:
        UserError: an annotation cannot be read.
    """
    listing = Listing(official=OFFICIAL)
    pictures: dict[tuple[Path, str], Path] = {}
    labels: dict[tuple[Path, str], Path] = {}
    for path in files_below(root):
        part, number = path.parent.parent, path.stem.removesuffix("_exp")
        if part.name not in SPLIT or not NUMBER.fullmatch(number):
            continue
        if path.parent.name == "images" and is_still(path) and path.stem == number:
            pictures.setdefault((part, number), path)
        elif path.parent.name == "annotations" and path.name == f"{number}_exp.npy":
            labels[part, number] = path
    seen: dict[str, Path] = {}
    for key, path in labels.items():
        part, number = key
        name = pictures[key].relative_to(root).as_posix() if key in pictures else ""
        split = SPLIT[part.name]
        identity = f"{corpus}/{split}_{number}"
        item = Utterance(identity, "", read_label(path), split=split, video=name)
        if (first := seen.setdefault(identity, path)) != path:
            listing.exclude_copy(item, path, first, root)
        elif item.emotion == "contempt":
            listing.exclude_emotion(item)
        elif name:
            listing.utterances.append(item)
        else:
            listing.missing.append((item, f"no {part.name}/images/{number}.jpg"))
    return listing


def read_label(path: Path) -> str:
    """The expression that an annotation names by its number.

    Raises:
        UserError: it names none.
    """
    try:
        return EMOTION[int(np.load(path, allow_pickle=False).item())]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: names no expression, 0 to 7; unpack it anew") from error
