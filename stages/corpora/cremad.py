"""CREMA-D (Cao et al. 2014; https://github.com/CheyneyComputerScience/CREMA-D): 91 actors.

    AudioWAV/1001_DFA_ANG_XX.wav      the voice, 16 kHz
    VideoFlash/1001_DFA_ANG_XX.flv    the face, with the voice

Names are actor, sentence, emotion and level (LO, MD, HI or XX). Files may lie in any folder; the
name alone says what they are. AudioMP3 is ignored: it is what the raters heard, with losses.
There is no surprise among its emotions: six of the seven.
"""

import re
from pathlib import Path

from stages.corpora.source import Source
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import files_below, is_lfs_pointer
from stages.runtime.errors import UserError

EMOTION = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
# One file was once named 1040_ITH_SAD_X.wav, with one X (issue 6).
NAME = re.compile(
    rf"(?P<actor>1[0-9]{{3}})_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>{'|'.join(EMOTION)})"
    r"_(?P<level>LO|MD|HI|XX?)\.(?P<suffix>wav|flv)",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", emotion): 1271 for emotion in EMOTION.values()} | {("", "neutral"): 1087}
# From the publisher's README: which files of a recording are no use, and why.
KNOWN_BAD = {
    "1064_IEO_DIS_MD": ((".flv", ".wav"), "a minute long, with every emotion"),
    "1064_TIE_SAD_XX": ((".flv",), "the flv file has no duration"),
    "1076_MTI_NEU_XX": ((".flv",), "the flv file is very short and has no sound"),
    "1076_MTI_SAD_XX": ((".flv", ".wav"), "shows an error and has no sound"),
}
SOURCE = Source(
    terms="""\
CREMA-D: Open Database License (ODbL) 1.0, contents under the Database Contents License 1.0
Cite: Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced
  Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4): 377-390.""",
    # The mirror first: GitHub often refuses (issue 15 there, "exceeded its LFS budget").
    repositories=(
        "https://gitlab.com/cs-cooper-lab/crema-d-mirror.git",
        "https://github.com/CheyneyComputerScience/CREMA-D.git",
    ),
)
OBTAIN = (
    "clone https://github.com/CheyneyComputerScience/CREMA-D with Git LFS installed, and put or "
    "link AudioWAV and VideoFlash into it"
)


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the flv file; the voice from the wav file, else from the flv file. What
    the publisher knows to be bad is left out.

    Raises:
        UserError: files are Git LFS pointers, as a download without Git LFS leaves them.
    """
    recordings: dict[str, dict[str, Path]] = {}
    listing = Listing(official=OFFICIAL)
    pointers = []
    for path in files_below(root):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        if is_lfs_pointer(path):
            pointers.append(path)
        recording = re.sub("_X$", "_XX", path.stem.upper())
        first = recordings.setdefault(recording, {}).setdefault(path.suffix.lower(), path)
        if first != path:
            detail = f"{path.relative_to(root)} repeats {first.relative_to(root)}"
            listing.excluded.append((_utterance(corpus, recording, {}, root), "duplicate", detail))
    if pointers:
        raise UserError(
            f"{pointers[0]}: is a Git LFS pointer, not the media itself, as are {len(pointers)} "
            "files in all; run `git lfs pull` there, or remove their folder if it is not wanted"
        )
    for recording, files in recordings.items():
        bad, reason = KNOWN_BAD.get(recording, ((), ""))
        usable = {suffix: path for suffix, path in files.items() if suffix not in bad}
        utterance = _utterance(corpus, recording, usable, root)
        if len(usable) < len(files):
            listing.excluded.append((utterance, "known_bad", reason))
        if usable:
            listing.utterances.append(utterance)
    faceless = [recording for recording, files in recordings.items() if ".flv" not in files]
    if recordings and len(faceless) == len(recordings):
        listing.notes.append(f"no faces: VideoFlash, which has them, is not below {root}")
    elif faceless:
        note = f"no face, {len(faceless)} of {len(recordings)} recordings: {first_five(faceless)}"
        listing.notes.append(note)
    return listing


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    actor, sentence, emotion, _ = recording.split("_")
    video = files.get(".flv")
    audio = files.get(".wav") or video
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"cremad/{actor}",
        emotion=EMOTION[emotion],
        sentence=sentence,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )
