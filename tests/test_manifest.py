"""The manifest: one row an utterance, and what was left out beside it."""

import os
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import frames, mels
from stages.corpora.listing import COLUMNS, list_corpus
from stages.corpora.registry import READERS
from stages.extraction import workers
from stages.io.arrays import decode_ids, open_arrays
from stages.io.files import read_table
from stages.manifest import main
from stages.media import crops
from stages.runtime.errors import ClipError, UserError
from tests.helpers import user_error
from tests.media_files import sine, with_sizes, write_iemocap, write_sound, write_video

PARAMS = Path(__file__).parent.parent / "params.yaml"
ANGRY, HAPPY, CALM = (f"01-{emotion}-01-01-01-02" for emotion in ("05", "03", "02"))


@pytest.fixture
def raw(no_children: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw of a project with nothing else but params, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PARAMS, "params.yaml")
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path / "data/raw"


def make_wav(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\1\0" * int(16000 * seconds))


def make_ravdess(raw: Path) -> None:
    make_wav(raw / "ravdess/Actor_02" / f"03-{HAPPY}.wav", 1.25)
    make_wav(raw / "ravdess/Actor_02" / f"03-{CALM}.wav", 1.0)
    (raw / "ravdess/A").mkdir()  # before Actor_02, though its take comes after
    (raw / "ravdess/A" / f"03-{ANGRY}.wav").write_bytes(b"no sound at all")


def test_an_unknown_corpus_is_told_with_those_that_are_known(raw: Path):
    (raw / "emovo").mkdir()
    known = (
        "affectnet, ck, cremad, emodb, enterface, fer2013, folder, iemocap, meld, mspimprov, "
        "rafdb, ravdess, sample, savee, stills, tess"
    )
    with pytest.raises(UserError, match=f"no reader for 'emovo'; name it {known}"):
        list_corpus(raw / "emovo", "emovo")


@pytest.mark.parametrize(
    "corpus, remedy",
    [
        ("cremad", "clone https://github.com/CheyneyComputerScience/CREMA-D with Git LFS"),
        ("emodb", "download http://emodb.bilderbar.info/download/download.zip"),
        ("enterface", "download the emotion database of http://www.enterface.net/enterface05/"),
        ("iemocap", "ask for it at https://sail.usc.edu/iemocap/"),
        ("mspimprov", "ask for it at https://ecs.utdallas.edu/research/researchlabs/msp-lab/"),
        ("tess", "download its files from https://doi.org/10.5683/SP2/E8H2MF"),
        ("folder_mine", "make it, with your clips and a table utterances.csv"),
        ("meld", "download MELD.Raw.tar.gz"),
        ("ravdess_grey", "put or link the unpacked speech archives of https://zenodo.org/records/"),
        ("sample", "make it by dvc repro sample"),
        ("savee", "register at http://kahlan.eps.surrey.ac.uk/savee/Download.html"),
    ],
)
def test_a_missing_folder_is_named_with_where_to_get_it(corpus: str, remedy: str, raw: Path):
    message = user_error(list_corpus, raw / corpus, corpus)
    assert message.startswith(f"{raw / corpus}: no such folder; {remedy}")


@pytest.mark.parametrize("corpus", sorted(set(READERS) - {"folder"}))
def test_a_folder_without_clips_is_named(corpus: str, raw: Path):
    (raw / corpus / "Actor_01").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{raw / corpus}: holds no usable clip of {corpus}"):
        list_corpus(raw / corpus, corpus)


def test_there_is_one_row_an_utterance_sorted_by_id(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    rows = read_table(Path("data/manifest/ravdess.csv"))
    assert [row["id"] for row in rows] == [f"ravdess/{HAPPY}", f"ravdess/{ANGRY}"]
    assert list(rows[0]) == COLUMNS


def test_a_row_says_who_says_what_and_how_and_for_how_long(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    assert read_table(Path("data/manifest/ravdess.csv"))[0] == {
        "id": f"ravdess/{HAPPY}",
        "speaker": "ravdess/02",
        "sex": "female",
        "emotion": "happiness",
        "sentence": "kids",
        "split": "",
        "video": "",
        "audio": f"Actor_02/03-{HAPPY}.wav",
        "start": "",
        "end": "",
        "whole": "",
        "crop": "",
        "overlaps": "",
        "session": "",
        "dialogue": "",
        "turn": "",
        "text": "",
        "duration": "1.250",
    }


def test_a_clip_that_cannot_be_opened_keeps_its_row_without_a_duration(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    assert read_table(Path("data/manifest/ravdess.csv"))[1]["duration"] == ""


def test_a_clip_that_crashes_its_decoder_keeps_its_row_and_a_pointer_stops_the_stage(
    raw: Path, monkeypatch: pytest.MonkeyPatch
):
    make_ravdess(raw)

    def crash(function: object, root: Path, settings: dict[str, str]) -> object:
        raise failure

    monkeypatch.setattr(workers, "call_in_child", crash)
    failure: Exception = ClipError("decoder_crash", "the decoder ended with SIGSEGV")
    main("ravdess")
    assert [row["duration"] for row in read_table(Path("data/manifest/ravdess.csv"))] == ["", ""]
    failure = UserError("a pointer of Git LFS")
    assert user_error(main, "ravdess") == "a pointer of Git LFS"


def test_what_a_rule_leaves_out_is_in_the_skip_table(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    (row,) = read_table(Path("data/skipped/ravdess.manifest.csv"))
    assert (row["id"], row["emotion"], row["code"]) == (
        f"ravdess/{CALM}",
        "calm",
        "emotion_excluded",
    )


def test_the_corpus_is_not_written_to(raw: Path):
    make_ravdess(raw)
    before = sorted(raw.rglob("*"))
    main("ravdess")
    assert sorted(raw.rglob("*")) == before


def test_the_summary_counts_faces_voices_and_what_was_left_out(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_ravdess(raw)
    main("ravdess")
    assert capsys.readouterr().out == (
        "manifest@ravdess: 2 utterances, 0 with a face and 2 with a voice; 1 left out by rule; "
        "the publisher ships 1440\n"
        "manifest@ravdess: differs from what the publisher ships: neutral 0 of 96, calm 1 of 192, "
        "happiness 1 of 192, sadness 0 of 192, anger 1 of 192, fear 0 of 192, disgust 0 of 192, "
        "surprise 0 of 192\n"
    )


def make_folder(raw: Path, present: int, absent: int) -> None:
    """A corpus whose table names clips that are there and clips that are not."""
    lines = ["id,speaker,emotion,video,audio"]
    for index in range(present + absent):
        lines.append(f"u{index:03d},anna,fear,,u{index:03d}.wav")
        if index < present:
            make_wav(raw / f"folder/u{index:03d}.wav", 0.1)
    (raw / "folder/utterances.csv").write_text("\n".join(lines))


def test_a_missing_clip_is_in_the_skip_table_and_not_in_the_manifest(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_folder(raw, present=99, absent=1)
    main("folder")
    assert len(read_table(Path("data/manifest/folder.csv"))) == 99
    (row,) = read_table(Path("data/skipped/folder.manifest.csv"))
    assert row == {
        "id": "folder/u099",
        "emotion": "fear",
        "stage": "manifest",
        "code": "missing_file",
        "detail": "no file 'u099.wav'",
    }
    assert capsys.readouterr().out == (
        "manifest@folder: 99 utterances, 0 with a face and 99 with a voice; 0 left out by rule; "
        "1 missing\n"
        "manifest@folder: missing: folder/u099 (no file 'u099.wav')\n"
    )


def test_too_many_missing_clips_stop_the_stage_and_are_all_named(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_folder(raw, present=93, absent=7)
    message = user_error(main, "folder")
    assert message.startswith(
        "data/skipped/folder.manifest.csv: names the 7 of 100 utterances that cannot be used, more "
        "than max_skip_fraction: 0.02 allows: folder/u093 (missing_file: no file 'u093.wav'), "
    )
    assert "7 missing" in capsys.readouterr().out
    assert len(read_table(Path("data/skipped/folder.manifest.csv"))) == 7
    assert not Path("data/manifest/folder.csv").exists()


def test_an_emotion_that_is_missing_far_more_often_is_told(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_folder(raw, present=196, absent=4)
    table = raw / "folder/utterances.csv"
    table.write_text(table.read_text().replace("fear", "anger", 190))
    main("folder")
    assert (
        "manifest@folder: warning: fear is skipped far more often than the other emotions: "
        "4 of 10 against 0 of 190; see data/skipped\n"
    ) in capsys.readouterr().out


def test_what_a_rule_leaves_out_does_not_stop_the_stage(raw: Path):
    make_ravdess(raw)
    for repetition in range(2, 9):
        make_wav(raw / f"ravdess/Actor_0{repetition}/03-01-02-01-01-01-0{repetition}.wav", 0.1)
    main("ravdess")
    assert len(read_table(Path("data/skipped/ravdess.manifest.csv"))) == 7


def test_clips_that_are_all_missing_are_named(raw: Path):
    make_folder(raw, present=1, absent=6)
    (raw / "folder/u000.wav").unlink()
    message = user_error(main, "folder")
    assert message.startswith(
        "data/raw/folder: holds none of the clips that its table names: folder/u000 (no file "
        "'u000.wav'), "
    )


def test_the_summary_tells_what_the_publisher_ships_and_is_not_here(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_wav(raw / "savee/ALL/DC_a01.wav", 0.1)
    main("savee")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "manifest@savee: differs from what the publisher ships: anger 1 of 60, disgust 0 of 60, "
        "fear 0 of 60, happiness 0 of 60, neutral 0 of 120, sadness 0 of 60, surprise 0 of 60"
    )
    assert lines[2] == (
        "manifest@savee: not here, 479 of 480 recordings: DC_a02, DC_a03, DC_a04, DC_a05, "
        "DC_a06, ..."
    )
    assert lines[3].startswith("manifest@savee: no faces: AudioVisualClip")


def test_a_wrong_cut_is_told_and_used(raw: Path, capsys: pytest.CaptureFixture[str]):
    (raw / "ravdess").mkdir()
    names = [f"01-01-0{emotion}-01-01-01-02" for emotion in (5, 3, 4)]
    for name, seconds in zip(names, (2.0, 1.7, 1.5)):
        write_video(raw / f"ravdess/{name}.mp4", frames=50, voice=sine(200, seconds, 48000))
    make_wav(raw / f"ravdess/03-{names[0][3:]}.wav", 0.5)  # the voice comes from here
    main("ravdess")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "manifest@ravdess: warning: face and voice differ in length by more than 20%, "
        f"2 utterances, which are used: ravdess/{names[2][3:]} (2.00 s of video, 1.50 s of audio), "
        f"ravdess/{names[0][3:]} (2.00 s of video, 0.50 s of audio)"
    )
    assert len(read_table(Path("data/manifest/ravdess.csv"))) == 3


def test_a_header_that_ends_a_file_before_its_samples_is_told(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_folder(raw, present=3, absent=0)
    with_sizes(write_sound(raw / "folder/u001.wav", sine(200, 2, 16000), 16000), 64_036, 9_600)
    main("folder")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "manifest@folder: warning: their headers end them before their samples do, 1 files, "
        "which are read whole: u001.wav"
    )
    assert read_table(Path("data/manifest/folder.csv"))[1]["duration"] == "2.000"


ODD = [
    "sp ace",
    "Žofie 日本",
    "a:b",
    "-x",
    "%03d",
    "new\nline",
    "re\rturn",
    'q"uote',
    "com,ma",
    "?*",
]


def test_odd_names_are_names_from_the_folder_to_the_spectrograms(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    takes = [f"01-05-0{1 + i % 2}-01-0{1 + i % 2}-{i + 1:02d}" for i in range(len(ODD))]
    for take, odd in zip(takes, ODD):
        path = raw / "ravdess" / odd / f"03-{take}.wav"
        path.parent.mkdir(parents=True)
        write_sound(path, sine(200, 0.5, 16000), 16000)
    folder = Path(os.fsdecode(os.fsencode(raw) + b"/ravdess/caf\xe9"))
    folder.mkdir()
    plain = write_sound(raw / "a.wav", sine(200, 0.5, 16000), 16000)
    plain.rename(folder / "03-01-03-01-01-01-11.wav")
    main("ravdess")
    rows = {row["id"]: row for row in read_table(Path("data/manifest/ravdess.csv"))}
    assert [rows[f"ravdess/{take}"]["audio"] for take in takes] == [
        f"{odd}/03-{take}.wav" for take, odd in zip(takes, ODD)
    ]
    assert all(row["duration"] == "0.500" for row in rows.values())
    assert (
        "manifest@ravdess: not used, 1 files whose names are not UTF-8: "
        r"'caf\udce9/03-01-03-01-01-01-11.wav'"
    ) in capsys.readouterr().out
    mels.main("ravdess")
    assert read_table(Path("data/skipped/ravdess.mels.csv")) == []
    with open_arrays(Path("data/mels/ravdess.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == sorted(rows)


def test_utterances_in_one_recording_are_cut_by_their_times(
    raw: Path, monkeypatch: pytest.MonkeyPatch
):
    (raw / "folder").mkdir()
    tones = [sine(pitch, 2, 48000) for pitch in (200, 400, 800)]
    write_video(raw / "folder/all.mp4", frames=150, voice=np.concatenate(tones, axis=1))
    (raw / "folder/utterances.csv").write_text(
        "id,speaker,emotion,video,audio,start,end\n"
        "a,anna,fear,all.mp4,all.mp4,,2\n"
        "b,anna,joy,all.mp4,all.mp4,0:00:02,4.0\n"
        "c,ben,anger,,all.mp4,3.5,\n"
        "d,ben,anger,all.mp4,all.mp4,5,9\n"
    )
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("max_skip_fraction: 0.02", "max_skip_fraction: 1"))
    main("folder")
    rows = read_table(Path("data/manifest/folder.csv"))
    assert [(row["start"], row["end"]) for row in rows] == [
        ("", "2.0"), ("2.0", "4.0"), ("3.5", ""), ("5.0", "9.0"),
    ]  # fmt: skip
    assert [row["overlaps"] for row in rows] == ["", "folder/c", "folder/b\tfolder/d", "folder/c"]
    assert [float(row["duration"] or 0) for row in rows] == pytest.approx([2, 2, 2.5, 0], abs=0.05)
    mels.main("folder")
    (skipped,) = read_table(Path("data/skipped/folder.mels.csv"))
    assert (skipped["id"], skipped["code"]) == ("folder/d", "beyond_end")
    with open_arrays(Path("data/mels/folder.h5"), "mels") as file:
        offsets, values = file["offsets"][...], file["values"][...]
    assert np.diff(offsets).tolist() == pytest.approx([201, 201, 251], abs=5)
    spectra = [values[start + 80 : end].mean(0) for start, end in zip(offsets, offsets[1:])]
    assert spectra[0].argmax() < spectra[1].argmax() < spectra[2].argmax()
    # OpenCV's detector is not for the threads that stand for child processes here.
    none = np.zeros((0, 5), np.float32)
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: [none] * len(images))
    frames.main("folder")
    with open_arrays(Path("data/frames/folder.h5"), "frames") as file:
        assert decode_ids(file["ids"][...]) == ["folder/a", "folder/b"]
        faces, times = file["faces"][...], file["times"][...]
    assert times == pytest.approx(np.array([[1 / 3, 1, 5 / 3]] * 2), abs=0.021)
    assert (faces[0] != faces[1]).any()


def test_of_two_people_in_one_picture_each_has_its_half_and_its_own_voice(
    raw: Path, monkeypatch: pytest.MonkeyPatch
):
    write_iemocap(raw / "iemocap")
    main("iemocap")
    rows = read_table(Path("data/manifest/iemocap.csv"))
    assert [(row["emotion"], row["crop"]) for row in rows] == [
        ("anger", "left"), ("happiness", "right"),
    ]  # fmt: skip
    assert [float(row["duration"]) for row in rows] == pytest.approx([0.5, 0.6], abs=0.01)
    mels.main("iemocap")
    with open_arrays(Path("data/mels/iemocap.h5"), "mels") as file:
        assert np.diff(file["offsets"][...]).tolist() == [51, 61]
    none = np.zeros((0, 5), np.float32)
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: [none] * len(images))
    frames.main("iemocap")
    with open_arrays(Path("data/frames/iemocap.h5"), "frames") as file:
        colours, times = file["faces"][...].mean(axis=(1, 2, 3)), file["times"][...]
    assert times == pytest.approx(np.array([[0.8 / 6, 0.4, 4 / 6]] * 2), abs=0.021)
    assert colours[0][0] > 150 > 50 > colours[0][2]
    assert colours[1][2] > 150 > 50 > colours[1][0]


def test_a_picture_is_a_face_that_counts_once(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("happy/a.png", "sad/b.png"):
        path = raw / "stills" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(path)
    (raw / "stills/sad/b.png").write_bytes(b"no picture")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("max_skip_fraction: 0.02", "max_skip_fraction: 1"))
    main("stills")
    rows = read_table(Path("data/manifest/stills.csv"))
    assert [(row["id"], row["speaker"], row["duration"]) for row in rows] == [
        ("stills/happy/a.png", "", ""),
        ("stills/sad/b.png", "", ""),
    ]
    mels.main("stills")
    none = np.zeros((0, 5), np.float32)
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: [none] * len(images))
    frames.main("stills")
    assert "frames@stills: 1 clips; frames: 1 centre_crop; in 0 clips" in capsys.readouterr().out
    (skipped,) = read_table(Path("data/skipped/stills.frames.csv"))
    assert (skipped["id"], skipped["code"]) == ("stills/sad/b.png", "unreadable")
    with open_arrays(Path("data/frames/stills.h5"), "frames") as file:
        assert file["ok"][...].tolist() == [[True, False, False]]
