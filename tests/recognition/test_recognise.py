"""The emotion of new clips: what is computed, and what becomes of clips that cannot be used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.media.spectrogram import clip_mel
from stages.recognition import recognise as module
from stages.recognition.bundle import fingerprint, read_bundle
from stages.recognition.recognise import ACOUSTIC, Answer, Piece, Recogniser, windows
from stages.runtime.errors import ClipError
from stages.scoring.calibration import with_temperature
from stages.systems.named import SYSTEMS
from tests.bundle_files import DIM, classifier_of, write_small_bundle
from tests.helpers import params, user_error
from tests.media_files import sine, write_sound, write_video

pytestmark = pytest.mark.usefixtures("no_children", "_no_gpu")
RATE = 16_000
BOTH = ("acoustic", "visual")


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Path]:
    """A voice, another, a clip with face and voice, a face alone, silence, and no media file."""
    voice = sine(300, 1.5, 48_000)
    found = {
        "voice": write_sound(tmp_path / "voice.wav", sine(220, 2, RATE), RATE),
        "other": write_sound(tmp_path / "other.wav", sine(660, 1, RATE), RATE),
        "both": write_video(tmp_path / "both.mp4", voice=voice),
        "face": write_video(tmp_path / "face.mp4"),
        "silence": write_sound(tmp_path / "silence.wav", np.zeros((1, RATE), np.float32), RATE),
        "text": tmp_path / "text.wav",
    }
    found["text"].write_text("no sound")
    return found


def recogniser(folder: Path, flags: dict[str, Any] | None = None, **changes: Any) -> Recogniser:
    write_small_bundle(folder / "bundle", flags, **changes)
    return Recogniser(read_bundle(folder / "bundle"))


def told(answer: Answer) -> np.ndarray:
    assert answer.probabilities is not None
    return answer.probabilities


def test_an_answer_is_the_calibrated_mean_of_the_seeds(clips: dict[str, Path], tmp_path: Path):
    found = recogniser(tmp_path)
    answer, *_ = found.recognise([Piece(clips["voice"])])
    mel = clip_mel(clips["voice"], **params()["mels"])
    (x,) = (of["values"] for of in found.encoder(ACOUSTIC).encode([("voice", mel.values)]))
    shares = [classifier(torch.from_numpy(x)).numpy()[0] for classifier in found.bundle.final]
    np.testing.assert_allclose(told(answer), with_temperature(np.mean(shares, 0), 2.0), atol=1e-7)
    of_folds = [classifier(torch.from_numpy(x)).numpy()[0] for classifier in found.bundle.folds]
    np.testing.assert_array_equal(answer.folds, of_folds)
    votes = [share.argmax() == told(answer).argmax() for share in of_folds]
    assert answer.agreement() == np.mean(votes)
    assert (answer.modalities, answer.faces, answer.skips) == (("acoustic",), (), {})
    assert answer.seconds == pytest.approx(2, abs=0.02)


def test_without_a_temperature_the_mean_stands(clips: dict[str, Path], tmp_path: Path):
    found = recogniser(tmp_path, temperature=None)
    answer, *_ = found.recognise([Piece(clips["voice"])])
    same, *_ = recogniser(tmp_path).recognise([Piece(clips["voice"])])
    np.testing.assert_allclose(with_temperature(told(answer), 2.0), told(same))


@pytest.mark.parametrize("modalities", [("acoustic",), BOTH])
def test_an_answer_does_not_depend_on_other_clips(
    modalities: tuple[str, ...],
    clips: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    found = recogniser(tmp_path)
    names = ["text", "both", "other", "silence", "voice"]
    together = found.recognise([Piece(clips[name]) for name in names], modalities)
    monkeypatch.setenv("FDAN_CACHE", str(tmp_path / "anew"))
    for name, answer in zip(names, together, strict=True):
        (alone,) = found.recognise([Piece(clips[name])], modalities)
        assert answer.piece.path == clips[name] and answer.skips.keys() == alone.skips.keys()
        if alone.probabilities is None:
            assert answer.probabilities is None
        else:
            np.testing.assert_array_equal(told(answer), told(alone))
            np.testing.assert_array_equal(answer.folds, alone.folds)


def test_of_two_modalities_those_count_that_there_are(clips: dict[str, Path], tmp_path: Path):
    names = ("both", "voice", "face", "text")
    answers = recogniser(tmp_path).recognise([Piece(clips[name]) for name in names], BOTH)
    assert [answer.modalities for answer in answers] == [BOTH, ("acoustic",), ("visual",), ()]
    codes = [{name: why.code for name, why in answer.skips.items()} for answer in answers]
    assert codes == [
        {},
        {"visual": "no_video"},
        {"acoustic": "no_audio"},
        {"acoustic": "unreadable", "visual": "unreadable"},
    ]
    assert [len(answer.faces) for answer in answers] == [3, 0, 3, 0]
    assert answers[3].probabilities is None
    alone, *_ = recogniser(tmp_path).recognise([Piece(clips["voice"])])
    np.testing.assert_array_equal(told(answers[1]), told(alone))


def test_what_cannot_be_used_is_told_by_its_code(clips: dict[str, Path], tmp_path: Path):
    (answer,) = recogniser(tmp_path).recognise([Piece(clips["silence"])])
    assert answer.probabilities is None and answer.seconds is None
    assert isinstance(answer.skips["acoustic"], ClipError)
    assert answer.skips["acoustic"].code == "silent"


def test_a_model_without_faces_refuses_to_look_at_some(clips: dict[str, Path], tmp_path: Path):
    found = recogniser(tmp_path, {"acoustic_only": True}, inference="none")
    assert "leave out visual" in user_error(found.recognise, [Piece(clips["both"])], BOTH)
    (answer,) = found.recognise([Piece(clips["both"])])
    assert answer.modalities == ("acoustic",)


def test_another_encoder_than_that_of_the_training_is_refused(
    clips: dict[str, Path], tmp_path: Path
):
    found = recogniser(tmp_path, sources={"visual": "seed 1", "acoustic": "seed 0"})
    assert found.recognise([Piece(clips["both"])])[0].probabilities is not None
    said = user_error(found.recognise, [Piece(clips["both"])], BOTH)
    assert "visual: seed 0 is not what the model was trained with, seed 1" in said


def test_a_voice_that_was_trained_on_is_known_again(clips: dict[str, Path], tmp_path: Path):
    first = recogniser(tmp_path)
    mel = clip_mel(clips["voice"], **params()["mels"])
    (of,) = first.encoder(ACOUSTIC).encode([("voice", mel.values)])
    found = recogniser(tmp_path, trained_on=[fingerprint({"acoustic": of["values"]})])
    answers = found.recognise([Piece(clips["voice"]), Piece(clips["other"])])
    assert [answer.trained_on for answer in answers] == [True, False]


def test_a_span_is_heard_alone(clips: dict[str, Path], tmp_path: Path):
    whole = write_sound(
        tmp_path / "whole.wav", np.concatenate([sine(220, 2, RATE), sine(660, 1, RATE)], 1), RATE
    )
    found = recogniser(tmp_path)
    pieces = [Piece(whole, (0.0, 2.0)), Piece(whole), Piece(clips["voice"])]
    span, all_of_it, voice = found.recognise(pieces)
    apart, further = (np.abs(told(of) - told(voice)).max() for of in (span, all_of_it))
    assert apart < further / 10  # but for the last window, beyond which there is silence or not
    assert span.seconds == voice.seconds
    assert all_of_it.seconds == pytest.approx(3, abs=0.02)


@torch.inference_mode()
def test_faces_and_voice_vote_and_the_faces_stand_in_the_place_of_the_bank():
    classifier = classifier_of(0)
    draw = torch.Generator().manual_seed(1)
    x_v, x_a = torch.randn(3, DIM, generator=draw), torch.randn(1, DIM, generator=draw)
    network = classifier.network
    z_v = network.project_visual((x_v - classifier.visual_mean) / classifier.visual_std)
    z_a = network.project_acoustic((x_a - classifier.acoustic_mean) / classifier.acoustic_std)
    [of_faces], [of_voice] = network.visual_layers, network.acoustic_layers
    visual = network.classifier(of_faces(z_v, z_a)).softmax(1).mean(0)
    acoustic = network.classifier(of_voice(z_a, z_v)).softmax(1)[0]
    torch.testing.assert_close(classifier.with_faces(x_v, x_a), (visual + acoustic) / 2)
    clips = [{"acoustic": x_a}, {"acoustic": x_a, "visual": x_v}, {"visual": x_v}]
    found = SYSTEMS["fdan"].probabilities(classifier, clips)
    torch.testing.assert_close(found[0], classifier(x_a)[0])
    np.testing.assert_allclose(found[1], ((visual + acoustic) / 2), atol=1e-6)
    alone = network.classifier(classifier.embed_visual(x_v)).softmax(1).mean(0)
    np.testing.assert_allclose(found[2], alone, atol=1e-6)


@given(st.floats(0.1, 100), st.floats(0.5, 10), st.floats(0.1, 10))
def test_windows_reach_from_the_first_to_the_last_moment(length: float, window: float, hop: float):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "of_each", lambda *_: [length])
        pieces = windows([Path("a.wav")], window, hop)
    if length <= window:
        assert pieces == [Piece(Path("a.wav"))]
        return
    spans = np.array([piece.span for piece in pieces])
    assert spans[0, 0] == 0 and spans[-1, 1] == pytest.approx(length, abs=0.011 * hop)
    np.testing.assert_allclose(spans[:, 1] - spans[:, 0], window)
    steps = np.diff(spans[:, 0])
    np.testing.assert_allclose(steps[:-1], hop)
    assert (steps > 0).all() and (steps <= hop * 1.0001).all()


def test_windows_of_a_recording_are_told_one_by_one(clips: dict[str, Path], tmp_path: Path):
    pieces = windows([clips["voice"], clips["text"], clips["other"]], 1, 0.5)
    assert [piece.span for piece in pieces] == [(0, 1), (0.5, 1.5), (1, 2), None, None]
    answers = recogniser(tmp_path).recognise(pieces)
    assert [answer.probabilities is None for answer in answers] == [False] * 3 + [True, False]
