"""CK+, the Extended Cohn-Kanade set (Lucey et al. 2010): 123 people in 593 short sequences.

    cohn-kanade-images/S010/002/S010_002_00000014.png             a frame; the last is the apex
    Emotion/S010/002/S010_002_00000014_emotion.txt                "   1.0000000e+00", of the apex

The publisher labels the last frame of 327 sequences, and that picture is read. A sequence begins
with a neutral face, which is not labelled: there is no neutral. Contempt is left out by rule. The
other frames are not needed.
"""

import re
from pathlib import Path

from stages.corpora.annotations import read_text
from stages.corpora.still import is_still
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below
from stages.runtime.errors import UserError

FRAME = re.compile(r"(?P<person>S[0-9]{3})_[0-9]{3}_[0-9]{8}", re.ASCII)
LABEL = re.compile(rf"(?P<frame>{FRAME.pattern})_emotion", re.ASCII)
EMOTION = {
    1: "anger",
    2: "contempt",
    3: "disgust",
    4: "fear",
    5: "happiness",
    6: "sadness",
    7: "surprise",
}
OFFICIAL = {("", emotion): n for emotion, n in zip(EMOTION.values(), (45, 18, 59, 25, 69, 28, 83))}
STILLS = True
LICENCE = "for research, by an agreement; not to be passed on (granted by University of Pittsburgh)"
FIXED_SENTENCES = False
OBTAIN = (
    "ask for it at https://www.jeffcohn.net/resources/ (it cannot be downloaded without), then put "
    "or link the folder with cohn-kanade-images and Emotion there"
)
NAMES = (
    "name them like cohn-kanade-images/S010/002/S010_002_00000014.png, with "
    "Emotion/S010/002/S010_002_00000014_emotion.txt beside them"
)


def read(root: Path, corpus: str) -> Listing:
    """List the labels below `root`, with their pictures.

    Raises:
        UserError: a label cannot be read.
    """
    listing = Listing(official=OFFICIAL)
    frames: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in files_below(root):
        name = COPY.sub("", path.stem)
        if is_still(path) and FRAME.fullmatch(name):
            if frames.setdefault(name, path) != path:
                listing.spare.append(path.relative_to(root).as_posix())
        elif path.suffix == ".txt" and (match := LABEL.fullmatch(name)):
            labels.setdefault(match["frame"], path)
    for name, path in labels.items():
        frame = frames.pop(name, None)
        item = Utterance(
            id=f"{corpus}/{name}",
            speaker=f"ck/{name.split('_')[0]}",
            emotion=read_label(path),
            video=frame.relative_to(root).as_posix() if frame else "",
        )
        if item.emotion == "contempt":
            listing.exclude_emotion(item)
        elif frame:
            listing.utterances.append(item)
        else:
            listing.missing.append((item, f"no {name}.png"))
    if labels:
        listing.spare += [frame.relative_to(root).as_posix() for frame in frames.values()]
    return listing


def read_label(path: Path) -> str:
    """The emotion that a file of the folder Emotion names by its number.

    Raises:
        UserError: it names none.
    """
    text = read_text(path)[0].strip()
    number = re.fullmatch(r"([1-7])(\.0*(e\+?0+)?)?", text, re.ASCII)
    if not number:
        raise UserError(f"{path}: {text[:60]!r} is no number of an emotion, 1 to 7; unpack it anew")
    return EMOTION[int(number[1])]
