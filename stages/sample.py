"""The embedded corpus `sample`: synthetic talking heads, so that the pipeline runs at once.

In:  nothing
Out: data/raw/sample/<speaker>/<speaker>_<emotion>_<sentence>.mp4, short clips of drawn faces
     with synthesised voices (stages/synthesis/): every speaker says every sentence with all
     seven emotions
Run: dvc repro sample, or python -m stages.sample

Not of the paper: a score on this corpus says that the pipeline works, and nothing about FDAN.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed

from stages.corpora.emotions import CODES, EMOTIONS
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import RAW
from stages.runtime.progress import track
from stages.synthesis import face, voice
from stages.synthesis.clip import make_clip

FOLDER = RAW / "sample"
README = """\
This corpus is synthetic. No person was filmed or recorded.

The faces are drawn from polygons, the voices are made by a formant synthesiser, and both
follow what the literature says of seven emotions (see the docstrings of
stages/synthesis/face.py and stages/synthesis/voice.py). stages/sample.py wrote it:
{speakers} speakers x 7 emotions x {sentences} sentences, seed {seed}.

    <speaker>/<speaker>_<emotion>_<sentence>.mp4
    emotion: AN anger, DI disgust, FE fear, HA happiness, NE neutral, SA sadness, SU surprise

It is here so that the pipeline runs from end to end without a download. Scores on it mean
that the pipeline works and nothing beyond that: do not report them, and do not compare
them with scores on recorded speech.
"""


def speaker_name(index: int) -> str:
    """F1, M1, F2, M2, ..."""
    return f"{'FM'[index % 2]}{index // 2 + 1}"


def speaker(index: int, seed: int) -> tuple[face.Face, voice.Voice]:
    """What a speaker looks and sounds like; the first four are set by hand."""
    name = speaker_name(index)
    if name in face.FACES:
        return face.FACES[name], voice.VOICES[name]
    rng = np.random.default_rng([seed, index])
    female = name.startswith("F")
    return face.make_face(female, rng), voice.make_voice(female, rng)


def sentence(index: int, seed: int) -> str:
    """The phones of a sentence; the first six are English, the others nonsense."""
    if index < len(voice.SENTENCES):
        return voice.SENTENCES[index]
    return voice.make_sentence(np.random.default_rng([seed, index]))


def _clip(folder: Path, speaker_index: int, emotion_index: int, sentence_index: int, seed: int):
    cv2.setNumThreads(1)
    name = speaker_name(speaker_index)
    make_clip(
        folder / name / f"{name}_{CODES[emotion_index]}_s{sentence_index + 1}.mp4",
        *speaker(speaker_index, seed),
        EMOTIONS[emotion_index],
        sentence(sentence_index, seed),
        np.random.SeedSequence([seed, speaker_index, emotion_index, sentence_index]),
    )


def _clips(folder: Path, speakers: int, sentences: int, seed: int) -> Iterator:
    for i in range(speakers):
        for j in range(len(EMOTIONS)):
            for k in range(sentences):
                yield delayed(_clip)(folder, i, j, k, seed)


def make_corpus(folder: Path, speakers: int, sentences: int, seed: int, jobs: int = -1) -> None:
    """Write the corpus to `folder`, whole or not at all; a folder of that name is replaced.

    The files are the same, byte for byte, whatever the number of processes `jobs`.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for i in range(speakers):
            (partial / speaker_name(i)).mkdir(parents=True)
        text = README.format(speakers=speakers, sentences=sentences, seed=seed)
        (partial / "README.txt").write_text(text, encoding="utf-8")
        clips = Parallel(jobs, return_as="generator_unordered")(
            _clips(partial, speakers, sentences, seed)
        )
        total = speakers * len(EMOTIONS) * sentences
        for _ in track(clips, total=total, label="sample", unit="clips"):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    """Make the corpus."""
    make_corpus(FOLDER, **read_params().sample.model_dump())


if __name__ == "__main__":
    run_stage(main, __doc__)
