"""CREMA-D (Cao et al. 2014; https://github.com/CheyneyComputerScience/CREMA-D): 91 actors.

    AudioWAV/1001_DFA_ANG_XX.wav      the voice, 16 kHz
    VideoFlash/1001_DFA_ANG_XX.flv    the face, with the voice
    VideoDemographics.csv             the sex of the actors, if it is there

Names are actor, sentence, emotion and level (LO, MD, HI or XX). Files may lie in any folder and be
in any format; the name alone says what they are. The folder AudioMP3 is ignored: it is what the
raters heard, with losses.
There is no surprise among its emotions: six of the seven.
"""

import re
from dataclasses import replace
from pathlib import Path

from stages.corpora.annotations import SEXES, one_version, read_rows
from stages.corpora.source import Source
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import COPY, files_below, is_lfs_pointer, media_kind
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
    r"_(?P<level>LO|MD|HI|XX?)",
    re.ASCII | re.IGNORECASE,
)
OFFICIAL = {("", emotion): 1271 for emotion in EMOTION.values()} | {("", "neutral"): 1087}
# From the publisher's README: which files of a recording are no use, and why.
KNOWN_BAD = {
    "1064_IEO_DIS_MD": (("video", "audio"), "a minute long, with every emotion"),
    "1064_TIE_SAD_XX": (("video",), "the flv file has no duration"),
    "1076_MTI_NEU_XX": (("video",), "the flv file is very short and has no sound"),
    "1076_MTI_SAD_XX": (("video", "audio"), "shows an error and has no sound"),
}
LICENCE = "Open Database License 1.0, its contents DbCL 1.0 (granted by its authors)"
FIXED_SENTENCES = True
SOURCE = Source(
    terms=f"""\
CREMA-D: {LICENCE}
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
    "link the folder with AudioWAV and VideoFlash there"
)
NAMES = "name them like 1001_DFA_ANG_XX.wav: actor, sentence, emotion, level"
LOSSY = "AudioMP3"
DEMOGRAPHICS = "VideoDemographics.csv"


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the video (flv); the voice from the file of sound (wav), else from the
    video. What the publisher knows to be bad is left out.

    Raises:
        UserError: files are Git LFS pointers, as a download without Git LFS leaves them; the table
            of the actors is no table, or is there in two versions.
    """
    recordings: dict[str, dict[str, Path]] = {}
    listing = Listing(official=OFFICIAL)
    pointers = []
    lossy = {}
    tables = []
    for path in files_below(root):
        if path.name == DEMOGRAPHICS:
            tables.append(path)
        kind, match = media_kind(path), NAME.fullmatch(COPY.sub("", path.stem))
        if not kind or match is None:
            continue
        recording = re.sub("_X$", "_XX", match[0].upper())
        if path.parent.name == LOSSY:
            lossy[path.relative_to(root).as_posix()] = recording
            continue
        if is_lfs_pointer(path):
            pointers.append(path)
        first = recordings.setdefault(recording, {}).setdefault(kind, path)
        if first != path:
            copy = _utterance(corpus, recording, {kind: path}, root)
            listing.exclude_copy(copy, path, first, root)
    if pointers:
        raise UserError(
            f"{pointers[0]}: is a Git LFS pointer, not the media itself, as are {len(pointers)} "
            "files in all; run `git lfs pull` there, or remove their folder if it is not wanted"
        )
    listing.spare = [name for name, recording in lossy.items() if recording in recordings]
    for recording, files in recordings.items():
        bad, reason = KNOWN_BAD.get(recording, ((), ""))
        usable = {kind: path for kind, path in files.items() if kind not in bad}
        if len(usable) < len(files):
            listing.excluded.append(
                (_utterance(corpus, recording, files, root), "known_bad", reason)
            )
        if usable:
            listing.utterances.append(_utterance(corpus, recording, usable, root))
    if table := one_version(tables, root):
        sex_of = {
            f"cremad/{row['ActorID']}": SEXES.get(row["Sex"].casefold(), "")
            for _, row in read_rows(table, (), ("ActorID", "Sex"))
        }
        listing.utterances = [
            replace(item, sex=sex_of.get(item.speaker, "")) for item in listing.utterances
        ]
        untold = sorted({item.speaker for item in listing.utterances if not item.sex})
        if untold:
            note = f"{DEMOGRAPHICS} tells no sex of {len(untold)} actors: {first_five(untold)}"
            listing.notes.append(note)
    faceless = [recording for recording, files in recordings.items() if "video" not in files]
    if recordings and len(faceless) == len(recordings):
        listing.notes.append(f"no faces: VideoFlash, which has them, is not below {root}")
    elif faceless:
        note = f"no face, {len(faceless)} of {len(recordings)} recordings: {first_five(faceless)}"
        listing.notes.append(note)
    return listing


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    actor, sentence, emotion, _ = recording.split("_")
    video = files.get("video")
    audio = files.get("audio") or video
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"cremad/{actor}",
        emotion=EMOTION[emotion],
        sentence=sentence,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )
