"""How long the encoders will take: what counts, and what it is measured on."""

import contextlib
import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import (
    acoustic_features,
    frames,
    linguistic_features,
    manifest,
    mels,
    transcripts,
    visual_features,
)
from stages.commands.check import check, encoding
from stages.encoders import huggingface_text, speech
from stages.encoders.huggingface_text import TextEncoder, Tokens
from stages.encoders.speech import Encoded, SpeechEncoder
from stages.extraction import workers
from stages.extraction.clip_cache import cache_folder
from stages.media import crops
from stages.runtime.command import run
from tests.helpers import both, write_params
from tests.media_files import moving_picture, sine, write_video

FOLDER = Path("data/raw/folder")
TEXTS = ["a", "three words here", "two words"]
CORES = 2


@pytest.fixture(autouse=True)
def project(no_children: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory with three clips of which somebody has written down the words."""
    monkeypatch.chdir(tmp_path)
    for module in (workers, encoding):
        monkeypatch.setattr(module.joblib, "cpu_count", lambda: CORES)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    box = [np.array([[10, 10, 50, 50, 1]], np.float32)]
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: box * len(images))
    FOLDER.mkdir(parents=True)
    with open(FOLDER / "utterances.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "speaker", "emotion", "video", "audio", "text"])
        for i, text in enumerate(TEXTS):
            voice = 0.3 * sine(220 * (i + 1), 1.0 + i / 2, 48000)
            write_video(
                FOLDER / f"{i}.mp4",
                25 + 12 * i,
                voice=voice,
                picture=lambda j, *size, k=i: moving_picture(j + 40 * k, *size),
            )
            writer.writerow([i, "anna", "fear", f"{i}.mp4", f"{i}.mp4", text])


def choose(augmentation: dict[str, Any] | None = None, **encoders: Any) -> None:
    write_params(
        Path(), corpora=["folder"], visual=["folder"], acoustic="folder", frames={"size": 32},
        encoders=encoders | {"allow_random_weights": True}, augmentation=augmentation or {},
    )  # fmt: skip


def estimates(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[int, int, str]]:
    """By stage, of how many clips check says how long they take, measured on how many of what."""
    capsys.readouterr()
    try:
        run(lambda: check.main(["folder"]))
    except SystemExit:
        pass  # the corpus is too small to be divided
    said = " ".join(capsys.readouterr().out.split())
    found = re.findall(
        r"the stage (\w+)_features takes about \d:\d\d:\d\d for (\d+) \w+ that were not encoded "
        r"yet: \S+ took \d\.\d{3} s each for (\d+) of random numbers, of ([^,]+), the median, on",
        said,
    )
    return {stage: (int(left), int(count), measure) for stage, left, count, measure in found}


def test_of_pictures_those_count_that_are_not_in_the_cache(capsys: pytest.CaptureFixture[str]):
    choose(**both(name="shufflenet_v2_x0_5"))
    expected = {"visual": (3, 4 * CORES, "3 pictures"), "acoustic": (3, 4 * CORES, "1.5 s")}
    assert estimates(capsys) == expected
    assert not (cache_folder() / "features").exists()  # what was measured is not kept
    for stage in (manifest, frames, mels, visual_features):
        stage.main("folder")
    assert estimates(capsys) == {"acoustic": expected["acoustic"]}
    acoustic_features.main("folder")
    assert estimates(capsys) == {}


def test_copies_take_their_time_too(capsys: pytest.CaptureFixture[str]):
    for augmentation, modalities in (
        ({"copies": 2, "flip": True, "mel_mask": 0.1}, {"visual", "acoustic"}),
        ({"copies": 2, "mel_mask": 0.1}, {"acoustic"}),
        ({"copies": 2}, set()),
    ):
        choose(augmentation, **both(name="shufflenet_v2_x0_5"))
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            run(lambda: check.main(["folder"]))
        said = " ".join(capsys.readouterr().out.split())
        found = re.findall(
            r"the stage (\w+)_features takes about \S+ for 3 \w+ that were not encoded yet, and at "
            r"most \d:\d\d:\d\d for 6 augmented copies: ",
            said,
        )
        assert set(found) == modalities and said.count("that were not encoded yet") == 2


def test_of_speech_it_is_the_waveform(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    heard: list[int] = []

    def encode(wave: np.ndarray) -> Encoded:
        heard.append(len(wave))
        return Encoded(np.array([len(wave)], np.float32), np.zeros((1, 1), np.float16))

    encoder = SpeechEncoder("counted", "nowhere", "none", 1, 1, encode)
    monkeypatch.setattr(speech, "load", lambda *_: encoder)
    monkeypatch.setattr(encoding, "encoder_weights", lambda *_: [])
    choose(
        visual={"name": "shufflenet_v2_x0_5"},
        acoustic={"name": "whisper-tiny.en", "weights": "published"},
    )
    for stage in (manifest, frames, mels, visual_features):
        stage.main("folder")
    assert estimates(capsys) == {"acoustic": (3, CORES, "1.5 s")}
    assert set(heard) == {24000} and len(heard) == 2 * CORES
    acoustic_features.main("folder")
    assert estimates(capsys) == {}


def test_of_texts_it_is_the_number_of_tokens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def tokenize(text: str) -> Tokens:
        return Tokens(np.array([len(word) for word in text.split()], np.int64), 0)

    encoder = TextEncoder("nowhere", "MIT", 1, tokenize, lambda ids: ids[:, None].astype("f4"))
    monkeypatch.setattr(huggingface_text, "load", lambda *_: encoder)
    monkeypatch.setattr(encoding, "text_weights", lambda *_: [])
    choose(**both(name="shufflenet_v2_x0_5"), linguistic={"name": "all-MiniLM-L6-v2"})
    assert estimates(capsys)["linguistic"] == (3, CORES, "2 tokens")
    for stage in (manifest, transcripts, linguistic_features):
        stage.main("folder")
    assert "linguistic" not in estimates(capsys)


def test_without_weights_nothing_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    choose(**both(name="shufflenet_v2_x0_5", weights="imagenet"), linguistic={"name": "no/model"})
    assert estimates(capsys) == {} and not (tmp_path / "torch").exists()
