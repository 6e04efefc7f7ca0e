"""TESS flat, as its publisher ships it, and in the folders of its copies; the files are empty."""

from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.listing import list_corpus
from stages.corpora.tess import EMOTION, OFFICIAL, read
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make

NAMES = [
    f"{speaker}_word{n:03d}_{emotion}.wav"
    for speaker in ("OAF", "YAF")
    for emotion in EMOTION
    for n in range(200)
]


def test_the_flat_corpus_has_200_words_of_two_speakers_in_seven_emotions(tmp_path: Path):
    make(tmp_path / "tess", *NAMES)
    listing = list_corpus(tmp_path / "tess", "tess")
    assert listing.expected == len(listing.utterances) == 2800
    assert differences(listing) == listing.notes == listing.excluded == []
    assert Counter(item.emotion for item in listing.utterances) == dict.fromkeys(
        ("anger", "disgust", "fear", "happiness", "neutral", "surprise", "sadness"), 400
    )
    assert Counter(item.speaker for item in listing.utterances) == {
        "tess/OAF": 1400,
        "tess/YAF": 1400,
    }


def test_the_copy_within_the_copy_is_left_out_by_rule(tmp_path: Path):
    top = "TESS Toronto emotional speech set data"
    make(
        tmp_path / "tess", *(f"{place}/{name}" for name in NAMES for place in (top, f"{top}/{top}"))
    )
    listing = list_corpus(tmp_path / "tess", "tess")
    assert len(listing.utterances) == 2800 and differences(listing) == []
    assert Counter(code for _, code, _ in listing.excluded) == {"duplicate": 2800}


@pytest.mark.parametrize(
    "path, speaker, word, emotion",
    [
        ("OAF_back_angry.wav", "OAF", "back", "anger"),
        ("YAF_pleasant_surprised/YAF_half_ps.wav", "YAF", "half", "surprise"),
        ("OAF_Pleasant_surprise/OAF_youth_ps.WAV", "OAF", "youth", "surprise"),
        ("OAF_Fear/OAF_dab_fear.wav", "OAF", "dab", "fear"),
        ("OAF_neutral/OA_bite_neutral.wav", "OAF", "bite", "neutral"),
        ("a/yaf_Home_HAPPY.wav", "YAF", "home", "happiness"),
        ("OAF_happy/YAF_said_sad.wav", "YAF", "said", "sadness"),
    ],
)
def test_the_name_of_the_file_decides(
    path: str, speaker: str, word: str, emotion: str, tmp_path: Path
):
    make(tmp_path / "c", path)
    code = next(code for code, name in EMOTION.items() if name == emotion)
    assert read(tmp_path / "c", "tess").utterances == [
        Utterance(
            id=f"tess/{speaker}_{word}_{code}",
            speaker=f"tess/{speaker}",
            sex="female",
            emotion=emotion,
            sentence=word,
            audio=path,
        )
    ]


@pytest.mark.parametrize("name", ["OAF_back_calm.wav", "XAF_back_sad.wav", "OAF_sad.wav", "a.txt"])
def test_what_has_another_name_is_passed_over(name: str, tmp_path: Path):
    make(tmp_path / "c", name)
    assert read(tmp_path / "c", "tess") == Listing(official=OFFICIAL)
