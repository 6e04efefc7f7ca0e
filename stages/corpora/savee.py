"""SAVEE (Haq & Jackson 2009; http://kahlan.eps.surrey.ac.uk/savee/): four men, seven emotions.

    AudioData/DC/a01.wav  ...        the voice, 44.1 kHz
    AudioVisualClip/DC/a1.avi  ...   the face, with the voice
    ALL/DC_a01.wav  ...              the voices in mirrors, which have no faces

A name is an emotion (a, d, f, h, n, sa, su) and a number, with or without leading zeros; before
it, or as one of its folders, stands the speaker: DC, JE, JK or KL. Case does not count. Blue
markers are painted on the faces: what is learned from them may not hold for other faces.

The publisher does not say which text a file has: its Info.txt says no more than "d03.wav is the
3rd disgust sentence". So the sentence of a recording is its emotion and number ("d03"), which the
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
RECORDINGS = dict.fromkeys(  # in order
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
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the avi file; the voice from the wav file, else from the avi file.
    """
    recordings: dict[str, dict[str, Path]] = {}
    copies: list[tuple[str, Path, Path]] = []
    unknown = []
    for path in files_below(root):
        recording = recording_of(path.relative_to(root))
        if recording in RECORDINGS:
            suffix = path.suffix.lower()
            first = recordings.setdefault(recording, {}).setdefault(suffix, path)
            if first != path:
                copies.append((recording, path, first))
        elif path.suffix.lower() in (".wav", ".avi") and not path.name.startswith("."):
            unknown.append(path.relative_to(root).as_posix())

    listing = Listing(official=OFFICIAL)
    listing.utterances = [
        _utterance(corpus, recording, files, root) for recording, files in recordings.items()
    ]
    for recording, path, first in copies:
        detail = f"{path.relative_to(root)} repeats {first.relative_to(root)}"
        listing.excluded.append((_utterance(corpus, recording, {}, root), "duplicate", detail))
    if recordings:
        listing.notes = _notes(recordings, unknown, root)
    return listing


def recording_of(path: Path) -> str | None:
    """The recording of a file, e.g. "DC_a01" of AudioVisualClip/DC/a1.avi; None for others.

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


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    speaker, sentence = recording.split("_")
    video = files.get(".avi")
    audio = files.get(".wav") or video
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"savee/{speaker}",
        emotion=EMOTION[sentence.rstrip("0123456789")],
        sentence=sentence,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )


def _notes(recordings: dict[str, dict[str, Path]], unknown: list[str], root: Path) -> list[str]:
    notes = []
    absent = [recording for recording in RECORDINGS if recording not in recordings]
    if absent:
        notes.append(
            f"not here, {len(absent)} of {len(RECORDINGS)} recordings: {first_five(absent)}"
        )
    faceless = [
        recording
        for recording in RECORDINGS
        if recording in recordings and ".avi" not in recordings[recording]
    ]
    if len(faceless) == len(recordings):
        notes.append(f"no faces: AudioVisualClip, which has them, is not below {root}")
    elif faceless:
        notes.append(
            f"no face, {len(faceless)} of {len(recordings)} recordings: {first_five(faceless)}"
        )
    if unknown:
        notes.append(f"not named as SAVEE's and not used, {len(unknown)}: {first_five(unknown)}")
    return notes
