"""The stage acoustic_features with encoders of speech, which take the waveform of a clip."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import acoustic_features, mels
from stages.corpora.listing import COLUMNS
from stages.encoders import speech, whisper
from stages.encoders.speech import SAMPLE_RATE, Encoded, SpeechEncoder
from stages.extraction import workers
from stages.extraction.waveforms import waveforms
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import file_sha256, write_table
from stages.media.audio import read_audio, waveform_settings
from stages.media.augmentation import copied_waveform
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import Piece, Recogniser
from stages.runtime.paths import features_path, mels_path
from stages.splits.dataset import Features
from tests.bundle_files import write_small_bundle
from tests.helpers import params, user_error, write_params
from tests.media_files import sine, write_sound

SECONDS = (1.0, 0.5, 2.5)
SPEECH = {
    "name": "whisper-tiny.en",
    "weights": "published",
    "layer": "last",
    "pool": "mean_std",
    "sequences": False,
}
CLIPS = Path("data/raw/sample")
PATH = features_path("acoustic", "sample")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_children: None) -> None:
    """The working directory with the spectrograms of three voices, and a fourth without sound."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_params(tmp_path, encoders={"acoustic": SPEECH}, max_skip_fraction=0.5)
    CLIPS.mkdir(parents=True)
    for i, seconds in enumerate(SECONDS):
        write_sound(CLIPS / f"{i}.wav", sine(220 + 100 * i, seconds, 48000), 48000)
    (CLIPS / "3.wav").write_bytes(b"no sound")
    rows = [
        dict.fromkeys(COLUMNS, "") | {"id": f"sample/{i}", "emotion": "fear", "audio": f"{i}.wav"}
        for i in range(4)
    ]
    rows[2] |= {"start": "0.5", "end": "2"}
    write_table(Path("data/manifest/sample.csv"), COLUMNS, rows)
    mels.main("sample")


class Counted:
    """What stands for an encoder of speech: the length of a clip and its loudness.

    Attributes:
        waves: that it was given.
    """

    def __init__(self) -> None:
        self.waves: list[np.ndarray] = []

    def __call__(self, wave: np.ndarray) -> Encoded:
        self.waves.append(wave)
        pooled = np.array([len(wave), np.abs(wave).mean()], np.float32)
        return Encoded(pooled, self.sequence_of(wave))

    @staticmethod
    def sequence_of(wave: np.ndarray) -> np.ndarray:
        """A row every 4000 samples."""
        return wave[::4000, None].astype(np.float16)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    found = Counted()
    encoder = SpeechEncoder("counted", "nowhere", "none", 2, 1, found)
    monkeypatch.setattr(speech, "load", lambda *_: encoder)
    yield found


def pooled() -> np.ndarray:
    with open_arrays(PATH, "acoustic features") as file:
        assert decode_ids(file["ids"][...]) == ["sample/0", "sample/1", "sample/2"]
        return file["pooled"][...]


def test_each_voice_that_has_a_spectrogram_is_heard_as_it_was_there(counted: Counted):
    acoustic_features.main("sample")
    spans: list[Any] = [None, None, (0.5, 2.0)]
    for wave, span, i in zip(counted.waves, spans, range(3), strict=True):
        expected = read_audio(CLIPS / f"{i}.wav", SAMPLE_RATE, span=span)
        np.testing.assert_array_equal(wave, expected)
    assert pooled()[:, 0].tolist() == [16000, 8000, 24000]
    with open_arrays(PATH, "acoustic features") as file:
        assert read_settings(file)["weights_source"] == "nowhere"


def test_only_the_voices_that_are_wanted_are_heard():
    with open_arrays(mels_path("sample"), "mels") as file:
        heard = list(waveforms(file, "sample", SAMPLE_RATE, "local", {"sample/1", "sample/3"}))
    assert [name for name, _ in heard] == ["sample/1"]  # of the other there is no spectrogram


def test_no_voice_is_encoded_twice_and_the_bytes_are_the_same(counted: Counted):
    acoustic_features.main("sample")
    first = PATH.read_bytes()
    acoustic_features.main("sample")
    assert PATH.read_bytes() == first and len(counted.waves) == 3


def test_another_layer_or_pooling_is_computed_anew(counted: Counted):
    acoustic_features.main("sample")
    for change in ({"layer": "mean"}, {"pool": "mean"}):
        write_params(Path(), encoders={"acoustic": SPEECH | change})
        acoustic_features.main("sample")
    assert len(counted.waves) == 9


def test_sequences_are_kept_where_they_are_asked_for(counted: Counted):
    acoustic_features.main("sample")
    alone = pooled()
    write_params(Path(), encoders={"acoustic": SPEECH | {"sequences": True}})
    acoustic_features.main("sample")
    sequences = Features({"acoustic": {"sample": file_sha256(PATH)}}).sequences("acoustic")
    assert list(sequences) == ["sample/0", "sample/1", "sample/2"]
    for values, wave in zip(sequences.values(), counted.waves[-3:], strict=True):
        assert values.dtype == np.float16
        np.testing.assert_array_equal(values, counted.sequence_of(wave))
    np.testing.assert_array_equal(pooled(), alone)


def augmented(augmentation: dict[str, Any], encoders: Any = None) -> None:
    encoders = encoders or {"acoustic": SPEECH}
    write_params(Path(), encoders=encoders, augmentation=augmentation, max_skip_fraction=0.5)


@pytest.mark.parametrize("masks", [{}, {"time_mask": 0.5}])
def test_copies_are_heard_as_the_stage_mels_made_them(counted: Counted, masks: dict[str, Any]):
    encoders = {"acoustic": SPEECH | {"sequences": True}}
    augmentation = {"copies": 2, "speed": 0.2, "noise_db": [10, 20]} | masks
    augmented(augmentation, encoders)
    mels.main("sample")
    acoustic_features.main("sample")
    with open_arrays(mels_path("sample"), "mels") as file:
        made_with, lengths = read_settings(file), np.diff(file["offsets"][...])
    assert len(counted.waves) == 9
    spans: list[Any] = [None, None, (0.5, 2.0)]
    hearing = waveform_settings(made_with, SAMPLE_RATE)
    for copy in (1, 2):
        for i, span in enumerate(spans):
            expected = copied_waveform(
                CLIPS / f"{i}.wav", made_with["augmentation"], copy, span, **hearing
            ).values
            wave = counted.waves[3 * copy + i]
            np.testing.assert_array_equal(wave, expected)
            # 10 ms a step: as long as the spectrogram, and not as the clip.
            assert abs(len(wave) / 160 - lengths[3 * copy + i]) <= 1
    features = Features({"acoustic": {"sample": file_sha256(PATH)}})
    assert len(features.copies["acoustic"]) == 2
    for copy in range(3):
        for i in range(3):
            wave = counted.waves[3 * copy + i]
            views = features.views(f"sample/{i}", ["acoustic"], copy=copy)
            assert views["acoustic"][0, 0] == len(wave)
            sequence = features.sequences("acoustic", copy)[f"sample/{i}"]
            np.testing.assert_array_equal(sequence, counted.sequence_of(wave))


def test_masks_alone_are_no_copies_of_what_is_heard(counted: Counted, capsys: Any):
    augmented({"time_mask": 0.5})
    mels.main("sample")
    acoustic_features.main("sample")
    said = "acoustic_features@sample: no copies: whisper-tiny.en hears waveforms, which have no"
    found = capsys.readouterr().out
    assert said in found and "the voices of 3 clips through" in found
    assert len(counted.waves) == 3 == len(pooled())


def test_texts_are_heard_in_the_clips_alone():
    augmented({"speed": 0.2})
    mels.main("sample")
    with open_arrays(mels_path("sample"), "mels") as file:
        heard = dict(waveforms(file, "sample", SAMPLE_RATE, "local"))
        more = list(waveforms(file, "sample", SAMPLE_RATE, "local", augmented=True))
    assert list(heard) == ["sample/0", "sample/1", "sample/2"]
    assert [name for name, _ in more] == 2 * list(heard)


def test_an_encoder_of_pictures_has_no_sequence_to_keep():
    write_params(Path(), encoders={"acoustic": {"sequences": True}})
    said = user_error(acoustic_features.main, "sample")
    assert said.startswith("params.yaml: encoders.acoustic.sequences: resnet34 gives one vector")


def test_a_clip_that_is_lost_after_its_spectrogram_is_named(counted: Counted):
    (CLIPS / "1.wav").write_bytes(b"no sound")
    said = user_error(acoustic_features.main, "sample")
    assert "sample/1.wav: unreadable: " in said and "there is a spectrogram of it" in said
    assert not PATH.exists()


def test_a_new_clip_gets_the_features_that_the_stage_makes(counted: Counted, tmp_path: Path):
    acoustic_features.main("sample")
    encoders = params(encoders={"acoustic": SPEECH})["encoders"]
    sources = {"acoustic": "nowhere", "visual": "seed 0"}
    write_small_bundle(tmp_path / "bundle", encoders=encoders, sources=sources)
    found = Recogniser(read_bundle(tmp_path / "bundle"))
    waves = [result["values"] for result in found.waveforms([Piece(CLIPS / "0.wav")])]
    (features,) = found.encoder("acoustic").encode([("a new clip", waves[0])])
    np.testing.assert_array_equal(features["values"][0], pooled()[0])
    assert len(counted.waves) == 3  # it was kept


@pytest.mark.skipif(
    find_spec(whisper.WEIGHTS.module) is None, reason=f"{whisper.WEIGHTS.package} is not installed"
)
def test_whisper_hears_the_voices():
    acoustic_features.main("sample")
    values = pooled()
    assert values.shape == (3, 768) and np.isfinite(values).all()
    encoder = speech.load("whisper-tiny.en", SPEECH, "cpu")
    torch.set_num_threads(1)
    wave = read_audio(CLIPS / "0.wav", SAMPLE_RATE)
    np.testing.assert_array_equal(values[0], encoder(wave).pooled)


def test_weights_of_the_other_kind_are_refused():
    for name, weights, right in (
        ("whisper-tiny.en", "random", "published"),
        ("HUBERT_BASE", "imagenet", "published"),
        ("resnet34", "published", "imagenet, or random"),
    ):
        write_params(Path(), encoders={"acoustic": {"name": name, "weights": weights}})
        said = user_error(acoustic_features.main, "sample")
        assert said == (
            f"params.yaml: encoders.acoustic.weights: {name} has no weights {weights!r}; "
            f"set {right}"
        )
