"""RAF-DB (Li et al. 2017; http://www.whdeng.cn/raf/model1.html): 15,339 faces found on the web.

    basic/EmoLabel/list_patition_label.txt        "train_00001.jpg 5", a line a picture (so spelt)
    basic/Image/aligned/train_00001_aligned.jpg   the face, 100 x 100
    basic/Image/original/train_00001.jpg          the picture that it is in

Of these basic emotions the aligned face is taken where it is there, else the original. Who is shown
is not known.
"""

import re
from pathlib import Path

from stages.corpora.annotations import one_version, read_text
from stages.corpora.still import is_still
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below
from stages.runtime.errors import UserError

TABLE = "list_patition_label.txt"
NAME = re.compile(r"(?P<name>(?P<split>train|test)_[0-9]{4,5})(?P<aligned>_aligned)?", re.ASCII)
LINE = re.compile(r"(?P<name>(train|test)_[0-9]{4,5})\.jpg\s+(?P<code>[1-7])", re.ASCII)
EMOTION = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
OFFICIAL = {
    (split, emotion): count
    for split, counts in {
        "train": (1290, 281, 717, 4772, 1982, 705, 2524),
        "test": (329, 74, 160, 1185, 478, 162, 680),
    }.items()
    for emotion, count in zip(EMOTION.values(), counts)
}
STILLS = True
LICENCE = "for research that is not commercial, on request (granted by its authors, BUPT)"
FIXED_SENTENCES = False
OBTAIN = (
    "ask for it at http://www.whdeng.cn/raf/model1.html (it cannot be downloaded without), then "
    "put or link the folder basic there"
)
NAMES = f"name them like basic/Image/aligned/train_00001_aligned.jpg, with {TABLE} beside them"


def read(root: Path, corpus: str) -> Listing:
    """List the lines of the table below `root`, with their pictures.

    Raises:
        UserError: the table cannot be read, or is there in two versions.
    """
    listing = Listing(official=OFFICIAL)
    files = list(files_below(root))
    pictures: dict[tuple[str, bool], str] = {}
    for path in files:
        match = NAME.fullmatch(COPY.sub("", path.stem))
        if match and is_still(path):
            name = path.relative_to(root).as_posix()
            if pictures.setdefault((match["name"], bool(match["aligned"])), name) != name:
                listing.spare.append(name)
    table = one_version([path for path in files if path.name == TABLE], root)
    for line, content in enumerate(read_text(table)[0].splitlines() if table else (), start=1):
        match = LINE.fullmatch(content.strip())
        if not match:
            if content.strip():
                raise UserError(f"{table}: line {line}: is no name and number; unpack it anew")
            continue
        name = match["name"]
        aligned, original = (pictures.get((name, kind), "") for kind in (True, False))
        item = Utterance(
            id=f"{corpus}/{name}",
            speaker="",
            emotion=EMOTION[match["code"]],
            split=name.split("_")[0],
            video=aligned or original,
        )
        if item.video:
            listing.utterances.append(item)
        else:
            listing.missing.append((item, f"no {name}_aligned.jpg"))
        if aligned and original:
            listing.spare.append(original)
    return listing
