"""EMO-DB (Burkhardt et al. 2005; http://emodb.bilderbar.info): ten people, ten German sentences.

    wav/03a01Fa.wav     the voice, 16 kHz; there are no faces

Names are speaker, text, emotion and version; the letters of the emotions are those of their German
names, so that A is fear (Angst) and T sadness (Trauer). Files may lie in any folder and be in any
format. Boredom is an eighth emotion and is left out by rule; there is no surprise.
"""

import re
from pathlib import Path

from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below, media_kind

NAME = re.compile(
    r"(?P<speaker>03|08|09|1[0-6])(?P<text>[ab][0-9]{2})(?P<code>[AEFLNTW])(?P<version>[a-f])",
    re.ASCII,
)
MEN = ("03", "10", "11", "12", "15")
EMOTION = {
    "A": "fear",
    "E": "disgust",
    "F": "happiness",
    "L": "boredom",
    "N": "neutral",
    "T": "sadness",
    "W": "anger",
}
OFFICIAL = {
    ("", "anger"): 127,
    ("", "boredom"): 81,
    ("", "neutral"): 79,
    ("", "happiness"): 71,
    ("", "fear"): 69,
    ("", "sadness"): 62,
    ("", "disgust"): 46,
}
LICENCE = "free of charge; no licence is stated (granted by TU Berlin)"
FIXED_SENTENCES = True
OBTAIN = (
    "download http://emodb.bilderbar.info/download/download.zip (40 MB), and unpack it or link its "
    "folder wav there"
)
NAMES = "name them like wav/03a01Fa.wav: speaker, text, emotion (A, E, F, L, N, T, W), version"


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each."""
    listing = Listing(official=OFFICIAL)
    recordings: dict[str, Path] = {}
    for path in files_below(root):
        match = NAME.fullmatch(COPY.sub("", path.stem))
        if not media_kind(path) or match is None:
            continue
        item = Utterance(
            id=f"{corpus}/{match[0]}",
            speaker=f"emodb/{match['speaker']}",
            sex="male" if match["speaker"] in MEN else "female",
            emotion=EMOTION[match["code"]],
            sentence=match["text"],
            audio=path.relative_to(root).as_posix(),
        )
        first = recordings.setdefault(match[0], path)
        if first != path:
            listing.exclude_copy(item, path, first, root)
        elif item.emotion == "boredom":
            listing.exclude_emotion(item)
        else:
            listing.utterances.append(item)
    return listing
