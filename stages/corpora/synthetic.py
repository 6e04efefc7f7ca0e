"""The embedded corpus that `stages/sample.py` makes: <speaker>/<speaker>_<EMO>_<sentence>.mp4.

F1 has the pitch and the vocal tract of a woman, M1 those of a man (`stages.synthesis.voice`).
"""

import re
from pathlib import Path

from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.utterance import SEX, Listing, Utterance

NAME = re.compile(r"(?P<speaker>[FM]\d+)_(?P<emotion>[A-Z]{2})_(?P<sentence>s\d+)\.mp4")
LICENCE = "MIT (granted by the authors of this project)"
FIXED_SENTENCES = True
OBTAIN = "make it by dvc repro sample"
NAMES = "make them anew by dvc repro sample"


def read(root: Path, corpus: str) -> Listing:
    """List the clips below `root`; each holds both the face and the voice of an utterance."""
    listing = Listing()
    for path in sorted(root.glob("*/*.mp4")):
        match = NAME.fullmatch(path.name)
        if match is None or match["emotion"] not in CODES:
            continue
        relative = path.relative_to(root).as_posix()
        listing.utterances.append(
            Utterance(
                id=f"{corpus}/{path.stem}",
                speaker=f"sample/{match['speaker']}",
                sex=SEX[match["speaker"][0]],
                emotion=EMOTIONS[CODES.index(match["emotion"])],
                sentence=match["sentence"],
                video=relative,
                audio=relative,
            )
        )
    return listing
