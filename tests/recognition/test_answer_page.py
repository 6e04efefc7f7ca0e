"""What a person is shown of a clip: its answer, its pictures, and what could not be used."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.corpora.emotions import EMOTIONS
from stages.media.crops import STATUS
from stages.recognition import answer_page
from stages.recognition.answer_page import draw_course, pages, pictures, ranked
from stages.recognition.bundle import fingerprint, read_bundle
from stages.recognition.recognise import MODALITIES, Answer, Piece, Recogniser
from stages.runtime.errors import ClipError
from tests.bundle_files import write_small_bundle
from tests.helpers import params
from tests.media_files import sine, write_sound, write_video

RATE = 16_000
VOICE = ("acoustic",)


@pytest.fixture(autouse=True)
def _on_the_cpu(no_children: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def recogniser(folder: Path, flags: dict[str, Any] | None = None, **changes: Any) -> Recogniser:
    write_small_bundle(folder / "bundle", flags, **changes)
    return Recogniser(read_bundle(folder / "bundle"))


def shown(found: Recogniser, clip: Path, modalities: tuple[str, ...] = VOICE) -> list[str]:
    """Every page of a clip; none of them asks another address for anything."""
    texts = list(pages(found, clip, modalities))
    for text in texts:
        asked = re.findall(r'(?:href|src)="([^"]*)', text)
        assert all(address.startswith(("data:image/", "#")) for address in asked)
        assert "url(http" not in text and "<script" not in text and "@import" not in text
    return texts


def made_up(first: float, *votes: int, **changes: Any) -> Answer:
    """An answer of anger by `first`, else fear; the winners of the folds' models are `votes`."""
    shares = np.zeros(len(EMOTIONS))
    shares[EMOTIONS.index("anger")], shares[EMOTIONS.index("fear")] = first, 1 - first
    answer = Answer(Piece(Path("a.wav")), VOICE, shares, np.eye(7)[list(votes)], 1, False, (), {})
    return answer._replace(**changes)


def faces_of(*statuses: str, **changes: Any) -> dict[str, np.ndarray]:
    found = np.array([status == "face" for status in statuses])
    boxes = np.array([[10, 20, 40, 50, 9]] * 3, np.float32) * found[:, None]
    return {
        "status": np.array([STATUS.index(status) for status in statuses]),
        "boxes": boxes,
        "certainty": found * 0.75,
        "jumps": np.zeros(3),
        "times": np.array([0.2, 0.6, 1.0]),
    } | changes


def test_the_winner_the_shares_and_the_votes_are_those_of_the_answer(tmp_path: Path):
    clip = write_sound(tmp_path / "a&b.wav", sine(220, 2, RATE), RATE)
    found = recogniser(tmp_path)
    (answer,) = found.recognise([Piece(clip)])
    (text,) = shown(found, clip)
    assert answer.probabilities is not None
    winner = EMOTIONS[answer.probabilities.argmax()]
    assert f'<h2 class="winner">{winner.capitalize()} <small>' in text
    assert f"{round(answer.agreement() * 4)} of the 4 models" in text
    widths = [float(width) / 100 for width in re.findall(r"width: ([\d.]+)%", text)]
    assert widths == sorted(widths, reverse=True)
    assert widths == pytest.approx(np.sort(answer.probabilities)[::-1], abs=6e-4)
    assert "<b>a&amp;b.wav</b>, told by its voice" in text and "are calibrated on" in text
    assert "Emotion over time" not in text and "trained on this very voice" not in text


def test_emotions_are_ranked_with_their_votes():
    anger, fear = EMOTIONS.index("anger"), EMOTIONS.index("fear")
    found = ranked(made_up(0.25, fear, fear, anger, EMOTIONS.index("neutral")))
    # The others, of which no model gives any, are of none that was trained on.
    assert found == [("fear", 0.75, 2), ("anger", 0.25, 1), ("neutral", 0.0, 1)]


def test_a_video_shows_its_frames_whether_or_not_its_faces_tell(tmp_path: Path):
    clip = write_video(tmp_path / "a.mp4", voice=sine(300, 1.5, 48_000))
    found = recogniser(tmp_path)
    (text,) = shown(found, clip)
    assert text.count("data:image/jpeg") == text.count('<rect class="none"') == 3
    assert text.count("no face found, so its centre is used") == 6  # read aloud, and beneath
    assert "not used for this answer" in text
    (text,) = shown(found, clip, MODALITIES)
    assert "told by its voice and faces" in text and "not used for this answer" not in text
    assert "are not calibrated" in text and "protocol is of voices alone" in text


def test_a_voice_has_no_frames_and_the_page_says_why(tmp_path: Path):
    clip = write_sound(tmp_path / "a.wav", sine(220, 2, RATE), RATE)
    found = recogniser(tmp_path)
    (text,) = shown(found, clip)
    assert "<figure>" not in text and "No faces (no_video: " in text
    (text,) = shown(found, clip, MODALITIES)
    assert "<b>Not used, visual</b>: no_video: " in text and "No faces" not in text
    assert "told by its voice." in text and "are calibrated on" in text


def test_a_model_of_voices_alone_looks_for_no_faces(tmp_path: Path):
    clip = write_video(tmp_path / "a.mp4", voice=sine(300, 1.5, 48_000))
    (text,) = shown(recogniser(tmp_path, {"acoustic_only": True}), clip)
    assert "<figure>" not in text and "No faces" not in text and "Log-Mel" in text


@pytest.mark.parametrize("kind", ["text", "silence", "nothing"])
def test_a_clip_that_cannot_be_used_is_one_line_with_its_code(tmp_path: Path, kind: str):
    clip = tmp_path / "<img src=x onerror=alert(1)>.wav"
    if kind == "text":
        clip.write_text("no sound")
    elif kind == "silence":
        silence = write_sound(tmp_path / "silence.wav", np.zeros((1, RATE), np.float32), RATE)
        silence.rename(clip)
    code = "silent" if kind == "silence" else "unreadable"
    (text,) = shown(recogniser(tmp_path), clip, MODALITIES)
    assert text.startswith('<p class="problem"><b>&lt;img src=x onerror=alert(1)&gt;.wav</b>: ')
    assert f"</b>: {code}: " in text and "\n" not in text and text.count("<p") == 1


def test_a_long_clip_is_told_over_time_after_it_is_told_as_a_whole(tmp_path: Path):
    wave = np.hstack([sine(220, 4, RATE), np.zeros((1, 4 * RATE), np.float32)])
    clip = write_sound(tmp_path / "a.wav", wave, RATE)
    first, second = shown(recogniser(tmp_path), clip)
    assert "6 windows are being looked at" in first and "Windows of 3 s" not in first
    assert "Windows of 3 s, one every 1 s." in second and "looked at" not in second
    assert "2 are left white: silent." in second  # those from 4 s and from 5 s on
    assert all(f">{emotion}</text>" in second for emotion in EMOTIONS)


def test_what_was_not_heard_is_said(tmp_path: Path):
    clip = write_sound(tmp_path / "a.wav", sine(220, 3, RATE), RATE)
    found = recogniser(tmp_path, mels=params()["mels"] | {"max_seconds": 2.0})
    first, second = shown(found, clip)
    assert "The answer above is of its first 2 s." in first
    assert "Windows of 2 s, one every 1 s." in second


def test_a_voice_that_trained_the_model_is_told_as_such(tmp_path: Path):
    clip = write_sound(tmp_path / "a.wav", sine(220, 2, RATE), RATE)
    found = recogniser(tmp_path)
    seen: list[dict[str, np.ndarray]] = [{}]
    found._hear([Piece(clip)], [{}], seen)
    found.contents["trained_on"] = [fingerprint(seen[0])]
    (text,) = shown(found, clip)
    assert "The model was trained on this very voice" in text


def test_the_square_of_each_frame_is_the_face_or_its_centre():
    images = np.zeros((3, 60, 100, 3), np.uint8)
    images[1] = 255
    first, second, third = pictures(images, faces_of("face", "centre_crop", "missing"))
    assert first["box"] == (10, 20, 30, 30) and first["text"] == "a face, certainty 0.75"
    assert second["box"] == (20, 0, 60, 60) and not second["found"]
    assert third["box"] is None and third["text"] == "no face found, so it is left out"
    assert [item["time"] for item in (first, second, third)] == [0.2, 0.6, 1.0]
    with Image.open(io.BytesIO(base64.b64decode(second["uri"].partition(",")[2]))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (100, 60))
        assert np.asarray(picture).min() > 250


def test_a_jump_is_doubted_and_a_still_picture_is_shown_once():
    images = np.zeros((3, 900, 1600, 3), np.uint8)
    jump = faces_of(*["face"] * 3, jumps=np.array([0, 1.5, 0.5]))
    assert ["same person" in item["text"] for item in pictures(images, jump)] == [0, 1, 0]
    still = faces_of(*["face"] * 3, times=np.zeros(3))
    (picture,) = pictures(images, still)
    assert (picture["width"], picture["height"]) == (1600, 900) and len(picture["uri"]) < 10_000


def test_each_window_stands_for_the_time_that_is_nearest_to_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answer_page, "as_svg", lambda figure: figure)
    why = {"acoustic": ClipError("silent", "is silent")}
    spans = [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0), (2.5, 5.5)]
    answers = [made_up(share, 0) for share in (1.0, 0.25, 0.0, 0.5)]
    answers[2] = answers[2]._replace(probabilities=None, skips=why)
    figure = draw_course(
        [a._replace(piece=Piece(Path("a"), span)) for a, span in zip(answers, spans)]
    )
    (axis,) = figure.axes
    drawn = {patch.get_label(): patch.get_data() for patch in axis.patches}
    assert list(drawn) == ["anger", "fear"]  # of the others there is none
    assert drawn["anger"].edges.tolist() == [0, 2, 3, 3.75, 5.5]
    height = {name: (data.values - data.baseline).tolist() for name, data in drawn.items()}
    assert height["anger"] == [1, 0.25, 0, 0.5] and height["fear"] == [0, 0.75, 0, 0.5]
    assert answer_page.unused([answers[2]]) == {"silent": 1}
