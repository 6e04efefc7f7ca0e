"""python -m stages predict: what it prints and writes, and what it refuses."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.commands import predict
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_table
from stages.recognition.recognise import Answer, Piece
from stages.runtime.errors import UserError
from stages.runtime.paths import BUNDLE
from tests.bundle_files import RESULT, write_small_bundle
from tests.helpers import user_error
from tests.media_files import sine, write_sound, write_video

RATE = 16_000


@pytest.fixture(autouse=True)
def project(no_children: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle, and a folder of clips of which two can be used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_small_bundle(BUNDLE)
    clips = Path("clips/more")
    clips.mkdir(parents=True)
    write_sound(clips / "b.wav", sine(220, 2.5, RATE), RATE)
    write_video(clips.parent / "a.mp4", voice=sine(300, 1.5, 48_000))
    write_sound(clips / "silence.wav", np.zeros((1, RATE), np.float32), RATE)
    (clips / "notes.txt").write_text("no clip")


def run(capsys: pytest.CaptureFixture, *words: str) -> tuple[str, str]:
    predict.main(words)
    return capsys.readouterr()


def test_a_person_gets_a_line_for_each_clip_and_what_was_skipped(capsys: pytest.CaptureFixture):
    out, err = run(capsys, "clips")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["clips/a.mp4", "clips/more/b.wav"]
    assert lines[0].split("  ")[0] == "clip" and "of 4" in lines[2]
    assert any(emotion in lines[2] for emotion in EMOTIONS)
    assert "skipped: clips/more/silence.wav: acoustic: silent: " in err
    assert "model: UAR 0.815 [0.765, 0.864]" in err and "notes.txt" not in out + err


def test_json_and_the_table_hold_the_same(capsys: pytest.CaptureFixture):
    out, _ = run(capsys, "clips", "--json")
    of_json = json.loads(out)
    out, _ = run(capsys, "clips", "--csv", "found.csv")
    assert out == "found.csv: 2 of 3 could be told\n"
    of_table = read_table(Path("found.csv"))
    for row, cells in zip(of_json, of_table, strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == cells
    first, _, silence = of_json
    shares = {emotion: first[emotion] for emotion in EMOTIONS}
    assert sum(shares.values()) == pytest.approx(1, abs=4e-4)
    assert shares[first["emotion"]] == first["probability"] == max(shares.values())
    assert first["agreement"] in (0, 0.25, 0.5, 0.75, 1)
    assert silence["emotion"] is None and silence["skipped"].startswith("acoustic: silent: ")


def test_files_and_folders_and_a_list_on_stdin_are_taken_once_in_their_order(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("clips/a.mp4\nclips\n"))
    out, _ = run(capsys, "clips/more/b.wav", "-", "--json")
    assert [row["clip"] for row in json.loads(out)] == [
        "clips/more/b.wav",
        "clips/a.mp4",
        "clips/more/silence.wav",
    ]


def test_windows_tell_emotion_over_time(capsys: pytest.CaptureFixture):
    out, _ = run(capsys, "clips/more/b.wav", "--window", "1", "--hop", "0.5", "--json")
    spans = [(row["start"], row["end"]) for row in json.loads(out)]
    assert spans == [(0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5)]
    out, _ = run(capsys, "clips/more/b.wav", "--window", "1")
    assert [line.split()[1:4] for line in out.splitlines()[2:]] == [
        ["0.0", "to", "1.0"],
        ["1.0", "to", "2.0"],
        ["1.5", "to", "2.5"],
    ]


def test_faces_are_seen_where_they_are_asked_for(capsys: pytest.CaptureFixture):
    out, err = run(capsys, "clips", "--modalities", "acoustic,visual", "--json")
    video, sound, _ = json.loads(out)
    assert video["modalities"] == "acoustic+visual" and len(video["faces"].split()) == 3
    assert sound["modalities"] == "acoustic" and sound["faces"] == ""
    assert "skipped: clips/more/b.wav: visual: no_video: " in err


def test_what_is_said_of_the_model_and_of_clips_that_it_knows(capsys: pytest.CaptureFixture):
    out, _ = run(capsys, "clips/a.mp4", "--json")
    assert json.loads(out)[0]["trained_on"] is False
    everything = [f"{number:016x}" for number in range(3)]
    random = {name: of | {"weights": "random"} for name, of in RESULT["encoders"].items()}
    write_small_bundle(BUNDLE, trained_on=everything, result=RESULT | {"encoders": random})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.recognition.recognise.fingerprint", lambda _: everything[1])
        out, err = run(capsys, "clips", "--json")
    assert [row["trained_on"] for row in json.loads(out)] == [True, True, False]
    assert "caution: the model was trained on 2 of these 3" in err
    assert "caution: The encoder has random weights" in err


def test_a_clip_of_which_only_the_beginning_is_heard_is_named(capsys: pytest.CaptureFixture):
    write_sound(Path("long.wav"), sine(220, 61, RATE), RATE)
    _, err = run(capsys, "long.wav", "clips/a.mp4")
    assert "warning: long.wav: only its first 60 s were heard; use --window" in err
    assert err.count("warning") == 1
    _, err = run(capsys, "long.wav", "--window", "30", "--hop", "30")
    assert "warning" not in err


@pytest.mark.parametrize(
    "words, said",
    [
        (["nothing.wav"], "nothing.wav: not found; name audio or video files, or folders of them"),
        (["clips", "nothing"], "nothing: not found; "),
        (["empty"], "empty: no audio or video in it; "),
        (["clips/more/notes.txt"], "clips/more/notes.txt: acoustic: unreadable: "),
        (["clips/more/silence.wav"], "clips/more/silence.wav: acoustic: silent: "),
        (["clips", "--window", "100"], "--window: 100 s is not from 0.1 s to 60 s"),
        (["-"], "no clip is named; "),
    ],
)
def test_bad_input_is_told_in_a_line_and_nothing_is_written(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    Path("empty").mkdir()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert user_error(predict.main, [*words, "--csv", "found.csv"]).startswith(said)
    assert capsys.readouterr().out == "" and not Path("found.csv").exists()


def test_several_bad_names_are_told_together(capsys: pytest.CaptureFixture):
    with pytest.raises(UserError) as caught:
        predict.main(["clips/more/silence.wav", "clips/more/notes.txt"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "clips/more/silence.wav",
        "clips/more/notes.txt",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["clips", "--hop", "1"],
        ["clips", "--window", "0"],
        ["clips", "--window", "nan"],
        ["clips", "--modalities", "smell"],
        ["clips", "--json", "--csv", "x.csv"],
        [],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_in_2(
    words: list[str], capsys: pytest.CaptureFixture
):
    with pytest.raises(SystemExit, match="2"):
        predict.main(words)
    assert "usage" in capsys.readouterr().err


def test_without_a_bundle_one_is_told_how_to_make_it():
    for path in BUNDLE.iterdir():
        path.unlink()
    assert "dvc repro" in user_error(predict.main, ["clips"])


def test_a_second_run_makes_nothing_anew(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    first = run(capsys, "clips", "--json").out

    def broken(*_: Any) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr("stages.extraction.workers.call_in_child", broken)
    assert run(capsys, "clips", "--json").out == first


def test_names_that_a_terminal_would_obey_are_shown_harmless(capsys: pytest.CaptureFixture):
    write_sound(Path("a\x1b[2Jb.wav"), sine(220, 1, RATE), RATE)
    out, err = run(capsys, "a\x1b[2Jb.wav")
    assert "\x1b" not in out + err and "a\\x1b[2Jb.wav" in out


def test_an_emotion_without_any_probability_is_never_the_second():
    """It may be one that no model was trained on."""
    certain = np.eye(len(EMOTIONS))[0]
    answer = Answer(Piece(Path("a.wav")), ("acoustic",), certain, certain[None], 1.0, False, (), {})
    head, _, row = predict.table([answer], 1).splitlines()
    assert row[: head.index("folds")].split() == ["a.wav", "anger", "1.00"]
