"""The verdict of check is that of the stages: an error where and only where one of them stops.

For each kind of fault a corpus is made that is whole but for it; check and the real stages then run
one after the other.
"""

import csv
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import (
    acoustic_features,
    frames,
    linguistic_features,
    manifest,
    mels,
    split,
    transcripts,
    visual_features,
)
from stages.commands.check import check
from stages.corpora.emotions import EMOTIONS
from stages.extraction import workers
from stages.io.files import read_table
from stages.io.skips import table_path
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.params import read_params
from tests.clone import Clone
from tests.helpers import both, changed, write_params
from tests.media_files import moving_picture, sine, write_sound, write_video

FOLDER = Path("data/raw/folder")
SPEAKERS = ("anna", "ben", "cleo")
COLUMNS = ("id", "speaker", "emotion", "video", "audio", "sentence", "split")
ALLOWED, UTTERANCES = 2, len(SPEAKERS) * len(EMOTIONS)
Row = dict[str, str]


@dataclass
class Fault:
    """One thing that is wrong with a corpus.

    Attributes:
        name: of the kind.
        stops: whether a stage stops for it.
        plant: brings it into the folder; changes its rows or its files.
        params: changes to params.yaml.
        code: of check; 1 where a stage stops, but 2 where there is no corpus to look over.
    """

    name: str
    stops: bool
    plant: Callable[[list[Row]], Any] = lambda rows: None
    params: dict[str, Any] = field(default_factory=dict)
    code: int | None = None


def voice(number: int, seconds: float = 1.0) -> np.ndarray:
    return 0.3 * sine(220 * 1.06**number, seconds, 48000)


def write_clip(path: Path, number: int, spoken: int | None = None) -> None:
    write_video(
        path,
        frames=25,
        size=(64, 64),
        voice=voice(number if spoken is None else spoken),
        picture=lambda i, *size: moving_picture(i + 40 * number, *size),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers with one sentence in each emotion, face and voice in one clip."""
    root = tmp_path_factory.mktemp("whole")
    for number in range(UTTERANCES):
        write_clip(root / f"{number:02}.mp4", number)
    return root


def all_rows() -> list[Row]:
    """The rows of the whole corpus, emotions side by side."""
    rows = []
    for number in range(UTTERANCES):
        file, speaker = f"{number:02}.mp4", SPEAKERS[number // len(EMOTIONS)]
        values = (f"u{number:02}", speaker, EMOTIONS[number % 7], file, file, "hello", "")
        rows.append(dict(zip(COLUMNS, values)))
    return rows


def first(count: int) -> range:
    """Numbers of utterances of different emotions."""
    return range(0, 8 * count, 8)


def silent(count: int) -> Callable[[list[Row]], None]:
    def plant(rows: list[Row]) -> None:
        for number in first(count):
            write_sound(FOLDER / f"s{number}.wav", voice(0) * 0, 48000)
            rows[number]["audio"] = f"s{number}.wav"

    return plant


def short(count: int) -> Callable[[list[Row]], None]:
    def plant(rows: list[Row]) -> None:
        for number in first(count):
            write_sound(FOLDER / f"s{number}.wav", voice(number, 0.05), 48000)
            rows[number]["audio"] = f"s{number}.wav"

    return plant


def files(count: int, content: Callable[[bytes], bytes | None]) -> Callable[[list[Row]], None]:
    """So many files with another content, or none at all."""

    def plant(rows: list[Row]) -> None:
        for number in first(count):
            path = FOLDER / rows[number]["video"]
            changed = content(path.read_bytes())
            path.unlink() if changed is None else path.write_bytes(changed)

    return plant


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def missing(content: bytes) -> None:
    return None


def copied(rows: list[Row]) -> None:
    """Two utterances of one emotion are equal to the byte, as Actor_07 of RAVDESS has two."""
    shutil.copy(FOLDER / rows[0]["video"], FOLDER / rows[7]["video"])


def copied_with_another_label(rows: list[Row]) -> None:
    shutil.copy(FOLDER / rows[0]["video"], FOLDER / rows[1]["video"])


def copied_sound(rows: list[Row]) -> None:
    """One voice twice, in two formats without loss."""
    for number, suffix, codec in ((0, "wav", "pcm_s16le"), (7, "flac", "flac")):
        wave = np.round(voice(0) * 32767) / 32768
        write_sound(FOLDER / f"v{number}.{suffix}", wave, 16000, codec)
        rows[number]["audio"] = f"v{number}.{suffix}"


def copied_pictures(rows: list[Row]) -> None:
    write_clip(FOLDER / rows[7]["video"], 0, spoken=7)


def in_another_corpus(rows: list[Row], prefix: str = "") -> None:
    """A variant of the corpus, folder_b, with the same recordings under the same ids."""
    variant = FOLDER.with_name("folder_b")
    shutil.copytree(FOLDER, variant)
    write_table(variant, [row | {"id": prefix + row["id"]} for row in rows])


def copied_to_another_corpus(rows: list[Row]) -> None:
    in_another_corpus(rows, "other_")


def without_emotion(rows: list[Row]) -> None:
    rows[:] = [row for row in rows if row["emotion"] != "surprise"]


def one_of_an_emotion(rows: list[Row]) -> None:
    rows[:] = [row for i, row in enumerate(rows) if row["emotion"] != "surprise" or i < 7]


def spelled_twice(key: str) -> Callable[[list[Row]], None]:
    def plant(rows: list[Row]) -> None:
        rows[0][key] = rows[0][key].title()

    return plant


def without(*keys: str) -> Callable[[list[Row]], None]:
    def plant(rows: list[Row]) -> None:
        for row in rows:
            row.update(dict.fromkeys(keys, ""))

    return plant


def empty(rows: list[Row]) -> None:
    rows.clear()
    for path in FOLDER.iterdir():
        path.unlink()


def in_official_parts(*parts: str) -> Callable[[list[Row]], None]:
    def plant(rows: list[Row]) -> None:
        for number, row in enumerate(rows):
            row["split"] = parts[number // len(EMOTIONS)]

    return plant


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 72862\n"
IMAGENET = {"encoders": both(weights="imagenet", name="squeezenet1_1")}
FAULTS = [
    Fault("none", False),
    Fault("silent, as many as allowed", False, silent(ALLOWED)),
    Fault("silent, one more", True, silent(ALLOWED + 1)),
    Fault("too short, one more than allowed", True, short(ALLOWED + 1)),
    Fault("truncated, as many as allowed", False, files(ALLOWED, truncated)),
    Fault("truncated, one more", True, files(ALLOWED + 1, truncated)),
    Fault("empty files, one more than allowed", True, files(ALLOWED + 1, lambda _: b"")),
    Fault("missing, as many as allowed", False, files(ALLOWED, missing)),
    Fault("missing, one more", True, files(ALLOWED + 1, missing)),
    Fault("a Git LFS pointer", True, files(1, lambda _: POINTER)),
    Fault("copied files, refused", True, copied),
    Fault("copied files, dropped", False, copied, {"duplicates": "drop"}),
    Fault("copied sound", True, copied_sound),
    Fault("copied sound, dropped", False, copied_sound, {"duplicates": "drop"}),
    Fault("copied pictures", True, copied_pictures),
    Fault("copied files in two corpora", True, copied_to_another_corpus,
          {"corpora": ["folder", "folder_b"], "visual": ["folder", "folder_b"]}),
    Fault("one recording in two corpora", False, in_another_corpus,
          {"corpora": ["folder", "folder_b"], "visual": ["folder", "folder_b"]}),
    Fault("copies labelled differently, dropped", False, copied_with_another_label,
          {"duplicates": "drop"}),
    Fault("copies labelled differently, no others left", True,
          lambda rows: (one_of_an_emotion(rows), copied_with_another_label(rows[5:])),
          {"duplicates": "drop"}),
    Fault("no surprise", True, without_emotion),
    Fault("no surprise, allowed", False, without_emotion, {"allow_missing_classes": True}),
    Fault("no surprise, which is no class", False, without_emotion,
          {"classes": list(EMOTIONS[:6])}),
    Fault("no surprise, one of two classes", True, without_emotion,
          {"classes": ["anger", "surprise"]}),
    Fault("no class at all", True,
          lambda rows: [row.update(emotion="fear") for row in rows],
          {"classes": ["anger", "surprise"], "allow_missing_classes": True}),
    Fault("copied files of no class", False, copied, {"classes": list(EMOTIONS[1:])}),
    Fault("copied files, one of which is of no class", True, copied_with_another_label,
          {"classes": list(EMOTIONS[1:])}),
    Fault("surprise in one fold only", True, one_of_an_emotion),
    Fault("few silent, but all of one emotion", True,
          lambda rows: (one_of_an_emotion(rows), rows.insert(0, rows.pop(6)), silent(1)(rows))),
    Fault("fewer speakers than folds", True, params={"protocol": "speaker", "folds": 4}),
    Fault("as many speakers as folds", False, params={"protocol": "speaker", "folds": 3}),
    Fault("sentences unknown", True, without("sentence"), {"protocol": "sentence"}),
    Fault("sentences unknown and not asked for", False, without("sentence")),
    Fault("a sentence spelled twice", True, spelled_twice("sentence"), {"protocol": "sentence"}),
    Fault("a sentence spelled twice, not kept apart", False, spelled_twice("sentence")),
    Fault("a speaker spelled twice", True, spelled_twice("speaker"), code=2),
    Fault("no official parts", True, params={"protocol": "official", "folds": 1}),
    Fault("official parts", False, in_official_parts("train", "dev", "test"),
          {"protocol": "official", "folds": 1}),
    Fault("no official test part", True, in_official_parts("train", "dev", "train"),
          {"protocol": "official", "folds": 1}),
    Fault("no faces to be found, skipped", True, params={"frames": {"no_face": "skip"}}),
    Fault("voices alone", True, without("video")),
    Fault("faces alone", True, without("audio")),
    Fault("random weights", True, params={"encoders": {"allow_random_weights": False}}),
    Fault("weights that cannot be had", True, params=IMAGENET),
    Fault("a detector that cannot be had", True, params={"frames": {"detector": "yunet"}}),
    Fault("an empty folder", True, empty, code=2),
    Fault("an emotion of another name", True, lambda rows: rows[0].update(emotion="bored"),
          code=2),
]  # fmt: skip


@pytest.fixture
def project(
    no_children: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory with the whole corpus; no weights are at hand or can be fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FDAN_CACHE", str(whole.with_name("cache")))  # of all cases
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # which keeps the proxies of its first use
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    shutil.copytree(whole, FOLDER)


def plant(fault: Fault) -> None:
    """Write the corpus and the params of a fault."""
    changes = {
        "corpora": ["folder"],
        "visual": ["folder"],
        "acoustic": "folder",
        "folds": 2,
        "max_skip_fraction": ALLOWED / UTTERANCES,
        "frames": {"size": 32},
        "mels": {"max_seconds": 2.0},
        "encoders": both(name="shufflenet_v2_x0_5", allow_random_weights=True),
    }
    write_params(Path(), **changed(changes, fault.params))
    rows = all_rows()
    fault.plant(rows)
    if rows:
        write_table(FOLDER, rows)


def write_table(root: Path, rows: list[Row]) -> None:
    with open(root / "utterances.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def code_of_check(*words: str) -> int:
    try:
        run(lambda: check.main([*words, "folder"]))
    except SystemExit as ended:
        return int(ended.code)
    return 0


STAGES_OF_A_CORPUS = (
    manifest,
    frames,
    mels,
    transcripts,
    visual_features,
    acoustic_features,
    linguistic_features,
)


def what_stops_the_stages() -> str:
    """What the first stage says that stops; "" where none does."""
    try:
        for corpus in read_params().corpora:
            for stage in STAGES_OF_A_CORPUS:
                stage.main(corpus)
        split.main()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_check_says_what_the_stages_will(
    fault: Fault, project: None, capsys: pytest.CaptureFixture[str]
):
    plant(fault)
    code = code_of_check()
    said = capsys.readouterr().out
    stopped = what_stops_the_stages()
    assert bool(stopped) == fault.stops, stopped
    assert code == (fault.code or int(fault.stops)), f"{said}\n{stopped}"


@pytest.mark.long
def test_dvc_leaves_the_table_of_all_that_a_stage_that_stops_has_skipped(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With real dvc and child processes; the clips that fail are those that check names."""
    names = {"corpora": ["folder"], "visual": ["folder"], "acoustic": "folder"}
    clone = Clone(tmp_path, names | {"encoders": {"allow_random_weights": True}, "folds": 2})
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, FOLDER)
    rows = all_rows()
    silent(ALLOWED + 1)(rows)
    write_table(FOLDER, rows)
    said = clone.run(sys.executable, "-m", "stages", "check", "folder", code=1)
    clone.dvc("repro", "mels@folder", code=255)
    skipped = [row["id"] for row in read_table(table_path("folder", "mels"))]
    assert skipped == [f"folder/u{number:02}" for number in first(ALLOWED + 1)]
    assert re.findall(r"^ +(\S+)  silent: ", said, re.MULTILINE) == skipped
