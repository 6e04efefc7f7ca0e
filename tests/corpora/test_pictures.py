"""Corpora of pictures in their official layouts; the files are empty, as only their names count."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.corpora import affectnet, ck, fer2013, rafdb, stills
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make
from tests.helpers import user_error


def codes(listing: Listing) -> Counter:
    return Counter(code for _, code, _ in listing.excluded)


@pytest.mark.parametrize(
    "path, emotion",
    [
        ("happy/a.jpg", "happiness"),
        ("train/Surprise/x/a.PNG", "surprise"),
        ("sad/angry/a.webp", "anger"),
        ("neutral/a.jpeg", "neutral"),
    ],
)
def test_the_innermost_folder_of_an_emotion_says_it(path: str, emotion: str, tmp_path: Path):
    make(tmp_path / "c", path)
    assert stills.read(tmp_path / "c", "stills_mine").utterances == [
        Utterance(id=f"stills_mine/{path}", speaker="", emotion=emotion, video=path)
    ]


def test_pictures_elsewhere_and_clips_are_told_and_not_used(tmp_path: Path):
    make(tmp_path / "c", "happy/a.jpg", "happy/b.mp4", "calm/c.jpg", "d.png", "happy/._a.jpg")
    listing = list_corpus(tmp_path / "c", "stills")
    assert [item.video for item in listing.utterances] == ["happy/a.jpg"]
    assert listing.notes == ["there and not used, 3 files: calm/c.jpg, d.png, happy/b.mp4"]


def test_a_folder_without_such_folders_is_told_their_names(tmp_path: Path):
    make(tmp_path / "c", "faces/a.jpg")
    message = user_error(list_corpus, tmp_path / "c", "stills")
    assert "among 1 media files: faces/a.jpg; put them in folders named anger, disgust" in message


def test_fer2013_has_35887_pictures_in_three_parts(tmp_path: Path):
    words = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
    parts = {"train": "train/{}/Training_{}", "dev": "test/{}/PublicTest_{}",
             "test": "test/{}/PrivateTest_{}"}  # fmt: skip
    paths = [
        f"{parts[split].format(words.get(emotion, emotion), number * 7 + i)}.jpg"
        for i, ((split, emotion), count) in enumerate(fer2013.OFFICIAL.items())
        for number in range(100 * i * 7, 100 * i * 7 + count)
    ]
    assert len(paths) == 35887
    unique = {Path(path).name for path in paths}
    assert len(unique) == len(paths)
    make(tmp_path / "fer2013", *paths)
    listing = list_corpus(tmp_path / "fer2013", "fer2013")
    assert listing.expected == 35887 and differences(listing) == [] and listing.notes == []
    counts = Counter(item.split for item in listing.utterances)
    assert counts == {"train": 28709, "dev": 3589, "test": 3589}


def test_a_picture_of_fer2013_in_two_folders_is_used_once(tmp_path: Path):
    make(tmp_path / "c", "train/angry/Training_1.jpg", "train/sad/Training_1.jpg", "fer2013.csv")
    listing = fer2013.read(tmp_path / "c", "fer2013")
    assert [item.emotion for item in listing.utterances] == ["anger"]
    ((_, code, detail),) = listing.excluded
    assert (code, detail) == (
        "duplicate",
        "train/sad/Training_1.jpg repeats train/angry/Training_1.jpg",
    )


def write_rafdb(root: Path, lines: list[str], *pictures: str) -> Listing:
    make(root, *(f"basic/Image/{name}" for name in pictures))
    (root / "basic/EmoLabel").mkdir(parents=True, exist_ok=True)
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("\n".join([*lines, ""]))
    return list_corpus(root, "rafdb")


def test_rafdb_has_15339_pictures_in_two_parts(tmp_path: Path):
    numbers = {emotion: code for code, emotion in rafdb.EMOTION.items()}
    words = [key for key, count in rafdb.OFFICIAL.items() for _ in range(count)]
    names = [f"{split}_{i:05d}" for i, (split, _) in enumerate(words)]
    lines = [f"{name}.jpg {numbers[word]}" for name, (_, word) in zip(names, words)]
    aligned = [f"aligned/{name}_aligned.jpg" for name in names]
    listing = write_rafdb(tmp_path / "c", lines, *aligned)
    assert listing.expected == len(listing.utterances) == 15339
    assert differences(listing) == listing.notes == []
    assert Counter(item.split for item in listing.utterances) == {"train": 12271, "test": 3068}


def test_of_rafdb_the_aligned_face_goes_before_the_original(tmp_path: Path):
    lines = ["train_00001.jpg 5", "train_00002.jpg 1", "test_0003.jpg 7"]
    pictures = ("original/train_00001.jpg", "aligned/train_00001_aligned.jpg",
                "original/train_00002.jpg")  # fmt: skip
    listing = write_rafdb(tmp_path / "c", lines, *pictures)
    assert [(item.id, item.emotion, item.split, item.video) for item in listing.utterances] == [
        ("rafdb/train_00001", "sadness", "train", "basic/Image/aligned/train_00001_aligned.jpg"),
        ("rafdb/train_00002", "surprise", "train", "basic/Image/original/train_00002.jpg"),
    ]
    assert listing.spare == ["basic/Image/original/train_00001.jpg"]
    ((missing, why),) = listing.missing
    assert (missing.id, why) == ("rafdb/test_0003", "no test_0003_aligned.jpg")
    assert not [note for note in listing.notes if "not used" in note]


@pytest.mark.parametrize("line", ["train_00001.jpg 8", "train_00001.jpg", "00001.jpg 3"])
def test_a_line_of_rafdb_that_cannot_be_is_refused(line: str, tmp_path: Path):
    message = user_error(write_rafdb, tmp_path / "c", ["train_00001.jpg 1", line])
    assert message.endswith(
        "list_patition_label.txt: line 2: is no name and number; unpack it anew"
    )


def write_ck(root: Path, labels: dict[str, str], *frames: str) -> Listing:
    def place(name: str) -> str:
        return "/".join(name.split("_")[:2])

    make(root, *(f"cohn-kanade-images/{place(name)}/{name}.png" for name in frames))
    for name, text in labels.items():
        path = root / "Emotion" / place(name) / f"{name}_emotion.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list_corpus(root, "ck")


def test_ck_has_327_labels_of_which_18_are_contempt_and_uses_the_apex_alone(tmp_path: Path):
    numbers = {emotion: number for number, emotion in ck.EMOTION.items()}
    words = [emotion for (_, emotion), count in ck.OFFICIAL.items() for _ in range(count)]
    names = [f"S{i % 118:03d}_{i // 118 + 1:03d}_" for i in range(len(words))]
    labels = {f"{name}00000009": f"   {numbers[word]}.0000000e+00\n"
              for name, word in zip(names, words)}  # fmt: skip
    frames = [f"{name}{number:08d}" for name in names for number in (1, 5, 9)]
    listing = write_ck(tmp_path / "c", labels, *frames, "S999_001_00000001")
    assert listing.expected == 327 and differences(listing) == []
    assert len(listing.utterances) == 309 and codes(listing) == {"emotion_excluded": 18}
    assert all(item.video.endswith("_00000009.png") for item in listing.utterances)
    assert len({item.speaker for item in listing.utterances}) == 118
    assert len(listing.spare) == 2 * 327 + 1
    assert not [note for note in listing.notes if "not used" in note]


def test_a_label_of_ck_is_understood(tmp_path: Path):
    name = "S010_002_00000014"
    listing = write_ck(tmp_path / "c", {name: "   1.0000000e+00\n", "S011_001_00000010": "7"}, name)
    assert listing.utterances == [
        Utterance(
            id=f"ck/{name}",
            speaker="ck/S010",
            emotion="anger",
            video=f"cohn-kanade-images/S010/002/{name}.png",
        )
    ]
    assert [why for _, why in listing.missing] == ["no S011_001_00000010.png"]


@pytest.mark.parametrize("text", ["", "0.0000000e+00", "8", "1.5", "1.0e+01", "happy"])
def test_a_label_of_ck_that_is_none_is_refused(text: str, tmp_path: Path):
    message = user_error(write_ck, tmp_path / "c", {"S010_002_00000014": text})
    assert f"S010_002_00000014_emotion.txt: {text!r} is no number of an emotion, 1 to 7" in message


def write_affectnet(root: Path, labels: dict[str, object], *pictures: str) -> Listing:
    make(root, *pictures)
    for name, label in labels.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name, label, allow_pickle=True)
    return list_corpus(root, "affectnet")


def test_the_counts_of_affectnet_are_those_that_are_published():
    counts: Counter = Counter()
    for (split, _), count in affectnet.OFFICIAL.items():
        counts[split] += count
    assert counts == {"train": 287651, "test": 3999}


def test_affectnet_is_read_by_its_annotations(tmp_path: Path):
    labels = {f"train_set/annotations/{i}_exp.npy": np.array(str(i)) for i in range(8)}
    labels |= {
        "val_set/annotations/0_exp.npy": np.array(6),
        "val_set/annotations/9_exp.npy": np.array("1"),
        "train_set/annotations/0_val.npy": np.array("-.2"),
    }
    pictures = [f"train_set/images/{i}.jpg" for i in range(8)]
    listing = write_affectnet(tmp_path / "c", labels, *pictures, "val_set/images/0.jpg")
    assert {item.id: item.emotion for item in listing.utterances} == {
        "affectnet/train_0": "neutral", "affectnet/train_1": "happiness",
        "affectnet/train_2": "sadness", "affectnet/train_3": "surprise",
        "affectnet/train_4": "fear", "affectnet/train_5": "disgust",
        "affectnet/train_6": "anger", "affectnet/test_0": "anger",
    }  # fmt: skip
    assert codes(listing) == {"emotion_excluded": 1}
    assert [why for _, why in listing.missing] == ["no val_set/images/9.jpg"]


@pytest.mark.parametrize("label", [np.array("8"), np.array("-1"), np.array("x"), np.zeros(2), {}])
def test_an_annotation_of_affectnet_that_is_none_is_refused(label: object, tmp_path: Path):
    name = "train_set/annotations/5_exp.npy"
    message = user_error(write_affectnet, tmp_path / "c", {name: label}, "train_set/images/5.jpg")
    assert message == f"{tmp_path}/c/{name}: names no expression, 0 to 7; unpack it anew"
