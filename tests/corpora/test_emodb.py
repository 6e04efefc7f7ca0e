"""EMO-DB as its archive unpacks it; only the names count, so the files are empty."""

from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.emodb import OFFICIAL, read
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make

LETTERS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")


def official_names() -> list[str]:
    """As many names of each emotion as there are; speakers and texts take turns."""
    return [
        f"{SPEAKERS[n % 10]}{TEXTS[n // 10 % 10]}{letter}{'abcdef'[n // 100]}"
        for letter, count in LETTERS.items()
        for n in range(count)
    ]


def test_the_archive_has_535_recordings_of_which_81_are_bored(tmp_path: Path):
    root = tmp_path / "emodb"
    make(root, *(f"wav/{name}.wav" for name in official_names()), "erkennung.txt", "lablaut/x.lab")
    listing = list_corpus(root, "emodb")
    assert listing.expected == 535 and differences(listing) == [] and listing.notes == []
    assert len(listing.utterances) == 454
    assert Counter(code for _, code, _ in listing.excluded) == {"emotion_excluded": 81}
    counts = Counter(item.emotion for item in listing.utterances)
    assert {("", emotion): n for emotion, n in counts.items()} == {
        key: n for key, n in OFFICIAL.items() if key != ("", "boredom")
    }
    assert {item.speaker for item in listing.utterances} == {f"emodb/{name}" for name in SPEAKERS}
    women = {item.speaker[-2:] for item in listing.utterances if item.sex == "female"}
    assert women == {"08", "09", "13", "14", "16"}  # and five men
    assert {item.sex for item in listing.utterances} == {"female", "male"}


@pytest.mark.parametrize("letter, emotion", [
    ("W", "anger"), ("L", "boredom"), ("E", "disgust"), ("A", "fear"), ("F", "happiness"),
    ("T", "sadness"), ("N", "neutral"),
])  # fmt: skip
def test_the_letters_are_those_of_the_german_names(letter: str, emotion: str, tmp_path: Path):
    make(tmp_path / "c", f"wav/08b02{letter}d.wav")
    listing = read(tmp_path / "c", "emodb")
    found = listing.utterances or [item for item, _, _ in listing.excluded]
    assert [item.emotion for item in found] == [emotion]


def test_a_name_is_understood(tmp_path: Path):
    make(tmp_path / "c", "wav/03a01Fa.wav")
    assert read(tmp_path / "c", "emodb").utterances == [
        Utterance(
            id="emodb/03a01Fa",
            speaker="emodb/03",
            sex="male",
            emotion="happiness",
            sentence="a01",
            audio="wav/03a01Fa.wav",
        )
    ]


@pytest.mark.parametrize(
    "name",
    ["03a01F.wav", "03a01Fab.wav", "04a01Fa.wav", "03c01Fa.wav", "03a01Xa.wav", "03a01fa.wav",
     "._03a01Fa.wav", "03a01Fa.txt"],
)  # fmt: skip
def test_what_has_another_name_is_passed_over(name: str, tmp_path: Path):
    make(tmp_path / "c", f"wav/{name}")
    assert read(tmp_path / "c", "emodb") == Listing(official=OFFICIAL)


def test_a_copy_is_named_and_used_once(tmp_path: Path):
    make(tmp_path / "c", "a/03a01Fa.flac", "b/03a01Fa (1).WAV")
    listing = read(tmp_path / "c", "emodb")
    ((_, code, detail),) = listing.excluded
    assert [item.audio for item in listing.utterances] == ["a/03a01Fa.flac"]
    assert (code, detail) == ("duplicate", "b/03a01Fa (1).WAV repeats a/03a01Fa.flac")
