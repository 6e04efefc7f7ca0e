"""SAVEE (Haq & Jackson 2009; http://kahlan.eps.surrey.ac.uk/savee/): four men, seven emotions.

    AudioData/DC/a01.wav  ...        the voice, 44.1 kHz
    AudioVisualClip/DC/a1.avi  ...   the face, with the voice
    ALL/DC_a01.wav  ...              the voices in mirrors, which have no faces

A name is an emotion (a, d, f, h, n, sa, su) and a number, with or without leading zeros; before
it, or as one of its folders, stands the speaker: DC, JE, JK or KL. Case and format do not count.
Where the four folders were put into one, "a01.wav" and "a01 (2).wav" tell no speaker. Blue
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
from stages.corpora.walk import COPY, files_below, media_kind
from stages.runtime.errors import UserError

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
    r"((?P<speaker>dc|je|jk|kl)_)?(?P<code>sa|su|a|d|f|h|n)0*(?P<number>[1-9][0-9]?)",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", EMOTION[code]): len(SPEAKERS) * SENTENCES[code] for code in EMOTION}
RECORDINGS = dict.fromkeys(  # in order
    f"{speaker}_{code}{number:02d}"
    for speaker in SPEAKERS
    for code in EMOTION
    for number in range(1, SENTENCES[code] + 1)
)
LICENCE = "for research, after registration; not to be passed on (granted by University of Surrey)"
FIXED_SENTENCES = True
SOURCE = Source(
    terms=f"""\
SAVEE: {LICENCE}
Cite: Haq S, Jackson PJB (2010). Multimodal Emotion Recognition. In: Wang W (ed.), Machine Audition:
  Principles, Algorithms and Systems. IGI Global, 398-423.
Register: http://kahlan.eps.surrey.ac.uk/savee/Download.html (if that is gone:
  http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html)
Put what you are given, unpacked, here:
  data/raw/savee/AudioData/{{DC,JE,JK,KL}}/*.wav          480 files, such as DC/a01.wav
  data/raw/savee/AudioVisualClip/{{DC,JE,JK,KL}}/*.avi    480 files, such as DC/a1.avi
Copies elsewhere mostly hold the sound alone; the faces are in AudioVisualClip.""",
    folders=("AudioData", "AudioVisualClip"),
)
OBTAIN = (
    "register at http://kahlan.eps.surrey.ac.uk/savee/Download.html (it cannot be downloaded "
    "without), then put or link the folder with AudioData and AudioVisualClip there"
)
NAMES = (
    "name them like AudioData/DC/a01.wav or DC_a01.wav: speaker (DC, JE, JK, KL), emotion "
    "(a, d, f, h, n, sa, su), number"
)


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the video (avi); the voice from the file of sound (wav), else from the
    video.

    Raises:
        UserError: no file tells its speaker.
    """
    recordings: dict[str, dict[str, Path]] = {}
    listing = Listing(official=OFFICIAL)
    unsaid = []
    for path in files_below(root):
        kind, recording = media_kind(path), recording_of(path.relative_to(root))
        if kind and recording in RECORDINGS:
            first = recordings.setdefault(recording, {}).setdefault(kind, path)
            if first != path:
                copy = _utterance(corpus, recording, {kind: path}, root)
                listing.exclude_copy(copy, path, first, root)
        elif kind and NAME.fullmatch(COPY.sub("", path.stem)):
            unsaid.append(path.relative_to(root).as_posix())
    if unsaid and not recordings:
        raise UserError(
            f"{root}: {len(unsaid)} names of files do not say who speaks: {first_five(unsaid)}; "
            "the folders DC, JE, JK and KL said it, and no (2) stands for one of them: unpack the "
            "archive anew with its folders (AudioData/DC/a01.wav), or name files like DC_a01.wav"
        )
    listing.utterances = [
        _utterance(corpus, recording, files, root) for recording, files in recordings.items()
    ]
    if recordings:
        listing.notes = _notes(recordings, root)
    return listing


def recording_of(path: Path) -> str | None:
    """The recording of a file, e.g. "DC_a01" of AudioVisualClip/DC/a1.avi; None for others.

    Args:
        path: relative to the corpus folder; the speaker in the name goes before one in a folder.
            Only where the name tells the speaker is "DC_a01 (2)" sure to be a copy of "DC_a01".
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        match = NAME.fullmatch(COPY.sub("", path.stem))
        if match is None or not match["speaker"]:
            return None
    folders = [name.upper() for name in reversed(path.parent.parts) if name.upper() in SPEAKERS]
    speaker = match["speaker"] or (folders[0] if folders else None)
    if speaker is None:
        return None
    return f"{speaker.upper()}_{match['code'].lower()}{int(match['number']):02d}"


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    speaker, sentence = recording.split("_")
    video = files.get("video")
    audio = files.get("audio") or video
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"savee/{speaker}",
        sex="male",
        emotion=EMOTION[sentence.rstrip("0123456789")],
        sentence=sentence,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )


def _notes(recordings: dict[str, dict[str, Path]], root: Path) -> list[str]:
    notes = []
    absent = [recording for recording in RECORDINGS if recording not in recordings]
    if absent:
        notes.append(
            f"not here, {len(absent)} of {len(RECORDINGS)} recordings: {first_five(absent)}"
        )
    faceless = [
        recording
        for recording in RECORDINGS
        if recording in recordings and "video" not in recordings[recording]
    ]
    if len(faceless) == len(recordings):
        notes.append(f"no faces: AudioVisualClip, which has them, is not below {root}")
    elif faceless:
        notes.append(
            f"no face, {len(faceless)} of {len(recordings)} recordings: {first_five(faceless)}"
        )
    return notes
