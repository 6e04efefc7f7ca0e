"""RAVDESS (Livingstone & Russo 2018, Zenodo record 1188976): the speech part.

Names are MM-VC-EE-II-SS-RR-AA: modality (01 audio-video, 02 video only, 03 audio only), vocal
channel (01 speech, 02 song), emotion, intensity, sentence, repetition, actor. Files may lie in
any folder, as the archives Video_Speech_Actor_XX.zip and Audio_Speech_Actors_01-24.zip unpack
them or otherwise; the name alone says what they are.
"""

import re
from pathlib import Path

from stages.corpora.source import Source
from stages.corpora.utterance import Listing, Utterance
from stages.corpora.walk import files_below

NAME = re.compile(
    r"(0[12](?=.*\.mp4)|03(?=.*\.wav))-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)\.(mp4|wav)"
)
AUDIO_VIDEO, VIDEO_ONLY, AUDIO_ONLY = "01", "02", "03"
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
SOURCE = Source(
    terms="""\
RAVDESS, speech: CC BY-NC-SA 4.0, https://doi.org/10.5281/zenodo.1188976
Cite: Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and
  Song (RAVDESS). PLoS ONE 13(5): e0196391.""",
    record="https://zenodo.org/records/1188976",
)
ACTORS = range(1, 25)
VOICES_ARCHIVE = "Audio_Speech_Actors_01-24.zip"
FACES_ARCHIVE = "Video_Speech_Actor_{:02}.zip"
OBTAIN = (
    "put or link the unpacked speech archives of https://zenodo.org/records/1188976 into it "
    "(Video_Speech_Actor_XX.zip, Audio_Speech_Actors_01-24.zip)"
)


def read(root: Path, corpus: str) -> Listing:
    """List the recordings below `root`, one utterance each, whatever modalities are there.

    The face comes from the audio-video file, else from the video-only file. The voice comes from
    the audio-only file, else from the audio-video file; never from a video-only file, whose
    audio track, where it has one, is silence. "calm" is no emotion of the seven and is excluded.
    """
    recordings: dict[str, dict[str, Path]] = {}
    listing = Listing(official=OFFICIAL)
    for path in files_below(root):
        match = NAME.fullmatch(path.name)
        if match is None or match[2] != SPEECH:
            continue
        recording = path.stem.split("-", 1)[1]
        modality = match[1]
        first = recordings.setdefault(recording, {}).setdefault(modality, path)
        if first != path:
            detail = f"{path.relative_to(root)} repeats {first.relative_to(root)}"
            listing.excluded.append((_utterance(corpus, recording, {}, root), "duplicate", detail))
    for recording, files in recordings.items():
        utterance = _utterance(corpus, recording, files, root)
        if utterance.emotion == "calm":
            detail = "calm is not one of the seven emotions"
            listing.excluded.append((utterance, "emotion_excluded", detail))
        else:
            listing.utterances.append(utterance)
            if not utterance.audio:
                detail = f"{utterance.video} is video only: its audio track is not speech"
                listing.excluded.append((utterance, "not_speech", detail))
    return listing


def _utterance(corpus: str, recording: str, files: dict[str, Path], root: Path) -> Utterance:
    _, emotion, _, sentence, _, actor = recording.split("-")
    video = files.get(AUDIO_VIDEO) or files.get(VIDEO_ONLY)
    audio = files.get(AUDIO_ONLY) or files.get(AUDIO_VIDEO)
    return Utterance(
        id=f"{corpus}/{recording}",
        speaker=f"ravdess/{actor}",
        emotion=EMOTION[emotion],
        sentence=SENTENCE[sentence],
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
    )
