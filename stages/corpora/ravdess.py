"""RAVDESS (Livingstone & Russo 2018, Zenodo record 1188976): the speech part.

Names are MM-VC-EE-II-SS-RR-AA: modality (01 audio-video, 02 video only, 03 audio only), vocal
channel (01 speech, 02 song), emotion, intensity, sentence, repetition, actor (odd numbers are men,
even ones women). Files may lie in any folder, as the archives Video_Speech_Actor_XX.zip and
Audio_Speech_Actors_01-24.zip unpack them or otherwise, and in any format; the name alone says what
they are. Of a 01 file there may be the sound alone.
"""

import re
from pathlib import Path

from stages.corpora.source import Source
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import COPY, files_below, media_kind

NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-([0-9]{2})")
AUDIO_VIDEO, VIDEO_ONLY, AUDIO_ONLY = "01", "02", "03"
ITS_SOUND = "01 sound"  # of an audio-video file, in a file of its own
SPEECH = "01"
EMOTION = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
SENTENCE = {"01": "kids", "02": "dogs"}
# 24 actors x 60 recordings, calm included; neutral alone has no strong intensity.
OFFICIAL = {("", emotion): 192 for emotion in EMOTION.values()} | {("", "neutral"): 96}
LICENCE = "CC BY-NC-SA 4.0 (granted by Livingstone and Russo)"
FIXED_SENTENCES = True
SOURCE = Source(
    terms=f"""\
RAVDESS, speech: {LICENCE}
https://doi.org/10.5281/zenodo.1188976
Cite: Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and
  Song (RAVDESS). PLoS ONE 13(5): e0196391.""",
    record="https://zenodo.org/records/1188976",
)
ACTORS = range(1, 25)
VOICES_ARCHIVE = "Audio_Speech_Actors_01-24.zip"
FACES_ARCHIVE = "Video_Speech_Actor_{:02}.zip"
OBTAIN = (
    "put or link the unpacked speech archives of https://zenodo.org/records/1188976 there, as one "
    "folder (Video_Speech_Actor_XX.zip, Audio_Speech_Actors_01-24.zip)"
)
NAMES = (
    "name them like 03-01-05-01-02-01-12.wav: modality, vocal channel (01 is speech), emotion, "
    "intensity, sentence, repetition, actor"
)


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the audio-video file, else from the video-only file. The voice comes from
    the audio-only file, else from the audio-video file or its sound; never from a video-only file,
    whose audio track, where it has one, is silence. "calm" is no emotion of the seven and is
    excluded.
    """
    recordings: dict[str, dict[str, Path]] = {}
    listing = Listing(official=OFFICIAL)
    for path in files_below(root):
        kind, match = media_kind(path), NAME.fullmatch(COPY.sub("", path.stem))
        if not kind or match is None or match[2] != SPEECH:
            continue
        modality, recording = match[0].split("-", 1)
        if kind == "audio" and modality != AUDIO_ONLY:
            if modality == VIDEO_ONLY:
                continue
            modality = ITS_SOUND
        first = recordings.setdefault(recording, {}).setdefault(modality, path)
        if first != path:
            copy = _utterance(corpus, recording, {modality: path}, root)
            listing.exclude_copy(copy, path, first, root)
    for recording, files in recordings.items():
        utterance = _utterance(corpus, recording, files, root)
        names = [path.relative_to(root).as_posix() for path in files.values()]
        taken = (utterance.video, utterance.audio)
        listing.spare += [name for name in names if name not in taken]
        if utterance.emotion == "calm":
            listing.exclude_emotion(utterance)
        else:
            listing.utterances.append(utterance)
            if not utterance.audio:
                detail = f"{utterance.video} is video only: its audio track is not speech"
                listing.excluded.append((utterance, "not_speech", detail))
    return listing


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    _, emotion, _, sentence, _, actor = recording.split("-")
    video = files.get(AUDIO_VIDEO) or files.get(VIDEO_ONLY)
    audio = files.get(AUDIO_ONLY) or files.get(AUDIO_VIDEO) or files.get(ITS_SOUND)
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"ravdess/{actor}",
        sex="male" if int(actor) % 2 else "female",
        emotion=EMOTION[emotion],
        sentence=SENTENCE[sentence],
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )
