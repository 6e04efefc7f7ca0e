"""eNTERFACE'05 (Martin et al. 2006; http://www.enterface.net): 44 people of 14 nations, in English.

    subject 1/anger/sentence 1/s1_an_1.avi     the face with the voice

The folders say what a file is, and its name must be of the same emotion: in `subject 11` the files
are named after subject 12, which has files of its own, and others are misspelt (s_3_fe_5.avi,
s16_su_3avi.avi). Subject 6 has one film an emotion in which the sentences are not cut apart: left
out by rule. Of subject 23 three files are not there. That makes 1,287 utterances of 43 people.

Each of the six emotions has five sentences of its own, so that the text tells the emotion, and
protocol `sentence` cannot keep texts apart that would be alike. There is no neutral.
"""

import re
from pathlib import Path

from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import files_below, media_kind

CODE = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}
PLACE = re.compile(
    rf"(.*/)?subject[ _]?0*(?P<subject>[0-9]+)/(?P<emotion>{'|'.join(CODE)})/"
    r"(sentence[ _]?0*(?P<sentence>[1-5])/)?"
    rf"s_?[0-9]+_(?P<code>{'|'.join(CODE.values())})[^/a-z][^/]*",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", emotion): 216 for emotion in CODE} | {("", "happiness"): 213}
LICENCE = "free of charge; no licence is stated (granted by the eNTERFACE'05 project)"
FIXED_SENTENCES = True
OBTAIN = (
    "download the emotion database of http://www.enterface.net/enterface05/, and put or link the "
    "folder with subject 1 to subject 44 there"
)
NAMES = "name them like subject 1/anger/sentence 1/s1_an_1.avi"


def read(root: Path, corpus: str) -> Listing:
    """List the films below `root`, one utterance each.

    The voice comes from a file of sound beside the film where there is one, else from the film.
    """
    listing = Listing(official=OFFICIAL)
    recordings: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path in files_below(root):
        kind, match = media_kind(path), PLACE.fullmatch(path.relative_to(root).as_posix())
        emotion = match["emotion"].lower() if match else ""
        if not kind or not match or match["code"].lower() != CODE[emotion]:
            continue
        key = (match["subject"], emotion, match["sentence"] or "")
        item = _utterance(corpus, key, {kind: path}, root)
        first = recordings.setdefault(key, {}).setdefault(kind, path)
        if first != path:
            listing.exclude_copy(item, path, first, root)
    for key, files in recordings.items():
        item = _utterance(corpus, key, files, root)
        if key[2]:
            listing.utterances.append(item)
        else:
            listing.excluded.append((item, "known_bad", "its sentences are not cut apart"))
    return listing


def _utterance(
    corpus: str, key: tuple[str, str, str], files: dict[str, Path], root: Path
) -> Utterance:
    subject, emotion, sentence = key
    video = files.get("video")
    audio = files.get("audio") or video
    return Utterance(
        id=f"{corpus}/s{subject}_{CODE[emotion]}" + (f"_{sentence}" if sentence else ""),
        speaker=f"enterface/s{subject}",
        emotion=emotion,
        sentence=f"{emotion}_{sentence}" if sentence else "",
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )
