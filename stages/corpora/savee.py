"""SAVEE (Haq & Jackson 2009; http://kahlan.eps.surrey.ac.uk/savee/): four men, seven emotions.

    AudioData/DC/a01.wav  ...        the voice, 44.1 kHz
    AudioVisualClip/DC/a1.avi  ...   the face, with the voice
    ALL/DC_a01.wav  ...              the voices in mirrors, which have no faces

A name is an emotion (a, d, f, h, n, sa, su) and a number, with or without leading zeros; before
it, or as one of its folders, stands the speaker: DC, JE, JK or KL. Case does not count. Blue
markers are painted on the faces: what is learned from them may not hold for other faces.

The texts are not told file by file: "d03.wav is the 3rd disgust sentence" is all that the
publisher's Info.txt says. So the sentence of a take is its emotion and number ("d03"), which the
four speakers share. Of an emotion's 15 sentences three are common to all emotions, and neutral's
30 hold those three and the two that are particular to each other emotion: such repetitions count
as different texts here, and protocol `sentence` does not keep them apart.
"""

import re
from pathlib import Path

from stages.corpora.source import Source
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import files_below

SPEAKERS = ("DC", "JE", "JK", "KL")
EMOTION = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
SENTENCES = dict.fromkeys(EMOTION, 15) | {"n": 30}
NAME = re.compile(
    r"((?P<speaker>dc|je|jk|kl)_)?(?P<code>sa|su|a|d|f|h|n)0*(?P<number>[1-9][0-9]?)"
    r"\.(?P<suffix>wav|avi)",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", EMOTION[code]): len(SPEAKERS) * SENTENCES[code] for code in EMOTION}
TAKES = dict.fromkeys(  # in order
    f"{speaker}_{code}{number:02d}"
    for speaker in SPEAKERS
    for code in EMOTION
    for number in range(1, SENTENCES[code] + 1)
)
SOURCE = Source(
    terms="""\
SAVEE: free of charge for research, after registration; not to be passed on
Cite: Haq S, Jackson PJB (2010). Multimodal Emotion Recognition. In: Wang W (ed.), Machine Audition:
  Principles, Algorithms and Systems. IGI Global, 398-423.
Register: http://kahlan.eps.surrey.ac.uk/savee/Download.html (if that is gone:
  http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html)
Put what you are given, unpacked, here:
  data/raw/savee/AudioData/{DC,JE,JK,KL}/*.wav          480 files, such as DC/a01.wav
  data/raw/savee/AudioVisualClip/{DC,JE,JK,KL}/*.avi    480 files, such as DC/a1.avi
Copies elsewhere mostly hold the sound alone; the faces are in AudioVisualClip.""",
    folders=("AudioData", "AudioVisualClip"),
)
OBTAIN = (
    "register at http://kahlan.eps.surrey.ac.uk/savee/Download.html (it cannot be downloaded "
    "without), then put or link AudioData and AudioVisualClip into it"
)


def read(root: Path, corpus: str) -> Listing:
    """List the takes below `root`, one utterance each, whatever modalities are there.

    The face comes from the avi file; the voice from the wav file, else from the avi file.
    """
    takes: dict[str, dict[str, Path]] = {}
    copies: list[tuple[str, Path, Path]] = []
    strange = []
    for path in files_below(root):
        take = take_of(path.relative_to(root))
        if take in TAKES:
            suffix = path.suffix.lower()
            first = takes.setdefault(take, {}).setdefault(suffix, path)
            if first != path:
                copies.append((take, path, first))
        elif path.suffix.lower() in (".wav", ".avi") and not path.name.startswith("."):
            strange.append(path.relative_to(root).as_posix())

    listing = Listing(official=OFFICIAL)
    listing.utterances = [_utterance(corpus, take, files, root) for take, files in takes.items()]
    for take, path, first in copies:
        detail = f"{path.relative_to(root)} repeats {first.relative_to(root)}"
        listing.excluded.append((_utterance(corpus, take, {}, root), "duplicate", detail))
    if takes:
        listing.notes = _notes(takes, strange, root)
    return listing


def take_of(path: Path) -> str | None:
    """The take that a file is of, e.g. "DC_a01" for AudioVisualClip/DC/a1.avi; None for others.

    Args:
        path: relative to the corpus folder; the speaker in the name goes before one in a folder.
    """
    match = NAME.fullmatch(path.name)
    if match is None:
        return None
    folders = [name.upper() for name in reversed(path.parent.parts) if name.upper() in SPEAKERS]
    speaker = match["speaker"] or (folders[0] if folders else None)
    if speaker is None:
        return None
    return f"{speaker.upper()}_{match['code'].lower()}{int(match['number']):02d}"


def _utterance(corpus: str, take: str, files: dict[str, Path], root: Path) -> Utterance:
    speaker, sentence = take.split("_")
    video = files.get(".avi")
    audio = files.get(".wav") or video
    return Utterance(
        id=f"{corpus}/{take}",
        speaker=f"savee/{speaker}",
        emotion=EMOTION[sentence.rstrip("0123456789")],
        sentence=sentence,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )


def _notes(takes: dict[str, dict[str, Path]], strange: list[str], root: Path) -> list[str]:
    notes = []
    absent = [take for take in TAKES if take not in takes]
    if absent:
        notes.append(f"not here, {len(absent)} of {len(TAKES)} takes: {first_five(absent)}")
    faceless = [take for take in TAKES if take in takes and ".avi" not in takes[take]]
    if len(faceless) == len(takes):
        notes.append(f"no faces: AudioVisualClip, which has them, is not below {root}")
    elif faceless:
        notes.append(f"no face, {len(faceless)} of {len(takes)} takes: {first_five(faceless)}")
    if strange:
        notes.append(f"not named as SAVEE's and not used, {len(strange)}: {first_five(strange)}")
    return notes
