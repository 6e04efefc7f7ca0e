"""TESS (Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF): two women, 200 words, 7 emotions.

    OAF_back_angry.wav ...    the voice, 24.4 kHz; there are no faces

Names are speaker (OAF is 64 years old, YAF 26), word ("Say the word back") and emotion, of which ps
is pleasant surprise. The name alone says what a file is: copies of the corpus have its files in
folders of several spellings, and all of them a second time in a folder within. One file of such
copies is named OA_bite_neutral.wav.

With two speakers, protocol `speaker` has two folds; in a random division both are known, and nearly
everything is right.
"""

import re
from pathlib import Path

from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below, media_kind

EMOTION = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sadness",
}
NAME = re.compile(
    rf"(?P<speaker>OAF?|YAF)_(?P<word>[^_]+)_(?P<emotion>{'|'.join(EMOTION)})",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", emotion): 400 for emotion in EMOTION.values()}
LICENCE = "CC BY-NC-ND 4.0 (granted by the University of Toronto)"
FIXED_SENTENCES = True
OBTAIN = (
    "download its files from https://doi.org/10.5683/SP2/E8H2MF (Borealis), and put or link their "
    "folder there"
)
NAMES = "name them like OAF_back_angry.wav: speaker (OAF, YAF), word, emotion"


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each."""
    listing = Listing(official=OFFICIAL)
    recordings: dict[str, Path] = {}
    for path in files_below(root):
        match = NAME.fullmatch(COPY.sub("", path.stem))
        if not media_kind(path) or match is None:
            continue
        speaker = "YAF" if match["speaker"].upper() == "YAF" else "OAF"
        word, emotion = match["word"].lower(), match["emotion"].lower()
        item = Utterance(
            id=f"{corpus}/{speaker}_{word}_{emotion}",
            speaker=f"tess/{speaker}",
            sex="female",
            emotion=EMOTION[emotion],
            sentence=word,
            audio=path.relative_to(root).as_posix(),
        )
        first = recordings.setdefault(item.id, path)
        if first != path:
            listing.exclude_copy(item, path, first, root)
        else:
            listing.utterances.append(item)
    return listing
