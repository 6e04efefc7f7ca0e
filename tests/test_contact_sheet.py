"""The contact sheet: which clips it shows and names, and that it is repeatable."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from stages import contact_sheet
from stages.contact_sheet import COLUMNS, draw_lots, main, table, worst_first
from stages.corpora.emotions import EMOTIONS
from stages.corpora.listing import COLUMNS as OF_MANIFEST
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table, write_table
from stages.media.crops import STATUS
from stages.reporting.excerpts import Face, draw_faces
from tests.feature_files import Rows, utterances, write_params

PLAIN = {"status": ["face"] * 3, "certainty": [1, 1, 1], "jumps": [0, 0, 0]}


def rows_of(count: int, emotion: str = "anger", kinds: str = "video audio") -> Rows:
    return [
        {"id": f"{emotion}{kinds}{i}", "emotion": emotion, "video": "", "audio": ""}
        | dict.fromkeys(kinds.split(), "a.mp4")
        for i in range(count)
    ]


def face(**changes: list) -> Face:
    known = PLAIN | changes
    status = np.array([STATUS.index(name) for name in known["status"]])
    return Face(0, status, np.array(known["certainty"]), np.array(known["jumps"]), False)


def test_there_is_one_entry_an_emotion_in_their_order():
    rows = [row for emotion in reversed(EMOTIONS) for row in rows_of(1, emotion)]
    assert draw_lots(rows) == [[f"{emotion}video audio0"] for emotion in EMOTIONS]


def test_an_emotion_without_clips_has_an_empty_entry():
    assert draw_lots([]) == [[]] * len(EMOTIONS)


def test_any_utterance_may_be_drawn_and_none_twice(monkeypatch: pytest.MonkeyPatch):
    rows = rows_of(6)
    drawn = set()
    for seed in range(60):
        monkeypatch.setattr(contact_sheet, "SEED", seed)
        ids = draw_lots(rows)[0]
        assert ids == draw_lots(rows)[0] and len(set(ids)) == COLUMNS
        drawn |= set(ids)
    assert drawn == {row["id"] for row in rows}


def test_videos_and_audios_are_drawn_where_no_utterance_has_both():
    rows = rows_of(40, kinds="audio") + rows_of(1, kinds="video")
    one, other = draw_lots(rows)[0]
    assert one == "angervideo0" and other.startswith("angeraudio")
    assert len(draw_lots(rows_of(3, kinds="audio"))[0]) == 2


def test_the_worst_come_first():
    faces = {
        "plain": face(),
        "uncertain": face(certainty=[0.9, 0.2, 0.9]),
        "cut": face(jumps=[0, 1.9, 0]),
        "far": face(jumps=[0, 5, 0]),
        "centre": face(status=["face", "centre_crop", "face"], certainty=[1, 0, 1]),
        "none": face(status=["centre_crop"] * 3, certainty=[0, 0, 0]),
        "moves": face(jumps=[0, 0.9, 0.3]),
    }
    bad = ["none", "centre", "far", "cut", "uncertain"]
    assert worst_first(faces) == [*bad, "plain", "moves"]
    rows = table(faces)
    assert [row["id"] for row in rows] == bad
    assert rows[0] == {
        "id": "none", "status": "centre_crop centre_crop centre_crop", "certainty": "0.00",
        "jump": "0.00",
    }  # fmt: skip
    assert rows[3] == {
        "id": "cut", "status": "face face face", "certainty": "1.00", "jump": "1.90"
    }  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(STATUS), min_size=3, max_size=3),
            st.lists(st.floats(0, 1), min_size=3, max_size=3),
            st.lists(st.floats(0, 9), min_size=3, max_size=3),
        ),
        max_size=6,
    )
)
def test_who_is_in_the_table_is_worse_than_who_is_not(clips: list):
    faces = {
        f"{i}": face(status=status, certainty=certainty, jumps=jumps)
        for i, (status, certainty, jumps) in enumerate(clips)
    }
    named = [row["id"] for row in table(faces)]
    assert worst_first(faces)[: len(named)] == named
    for name, item in faces.items():
        with_face = item.status == STATUS.index("face")
        plain = with_face.all() and (item.jumps <= 1).all() and (item.certainty >= 0.5).all()
        assert (name in named) != plain


@pytest.mark.parametrize("still", [False, True])
def test_a_still_picture_is_shown_once(still: bool):
    axes = Figure().subplots(1, 3)
    draw_faces(axes, face()._replace(still=still), np.zeros((3, 8, 8, 3), np.uint8))
    assert [len(axis.images) for axis in axes] == ([1, 0, 0] if still else [1, 1, 1])


def test_what_is_wrong_with_a_face_stands_beneath_it_in_red():
    axes = Figure().subplots(1, 3)
    bad = face(status=["face", "centre_crop", "face"], certainty=[1, 0, 0.9], jumps=[0, 0, 1.9])
    draw_faces(axes, bad, np.zeros((3, 8, 8, 3), np.uint8))
    labels = [(axis.get_xlabel(), axis.get_frame_on()) for axis in axes]
    assert labels == [("V1  1.00", False), ("V2  centre crop", True), ("V3  0.90, jump 1.9", True)]


def make_project(root: Path, seen: Rows, heard: Rows) -> None:
    write_params(root)
    rng = np.random.default_rng(0)
    write_table(root / "data/manifest/sample.csv", OF_MANIFEST, utterances("sample", 1))
    with write_arrays(root / "data/frames/sample.h5", "frames", {}, 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in seen]))
        if seen:
            faces = rng.integers(0, 255, (len(seen), 3, 8, 8, 3), dtype=np.uint8)
            arrays.append("faces", faces)
            arrays.append("status", np.zeros((len(seen), 3), np.uint8))
            arrays.append("certainty", np.full((len(seen), 3), 0.9, np.float32))
            jumps = np.zeros((len(seen), 3), np.float32)
            jumps[1, 2] = 1.9
            arrays.append("jumps", jumps)
            arrays.append("times", np.tile([0.1, 0.2, 0.3], (len(seen), 1)))
    settings = {"hop_length": 160, "sample_rate": 16000, "fmin": 20.0, "fmax": 8000.0}
    with write_arrays(root / "data/mels/sample.h5", "mels", settings, 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in heard]))
        arrays.append("offsets", np.arange(len(heard) + 1) * 20)
        arrays.append("values", rng.uniform(-60, 40, (20 * len(heard), 16)).astype(np.float32))


def sheet() -> bytes:
    main("sample")
    return Path("metrics/contact_sheet/sample.png").read_bytes()


def test_the_same_clips_give_the_same_picture_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rows = utterances("sample", 1)
    make_project(tmp_path, rows[:5], rows[3:])
    first = sheet()
    assert first == sheet() and first.startswith(b"\x89PNG") and b"Software" not in first
    (row,) = read_table(Path("metrics/contact_sheet/sample.csv"))
    assert (row["id"], row["jump"]) == (rows[1]["id"], "1.90")


def test_a_corpus_without_any_clip_gives_an_empty_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, [], [])
    assert sheet().startswith(b"\x89PNG")
    assert read_table(Path("metrics/contact_sheet/sample.csv")) == []
