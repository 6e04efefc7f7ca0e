"""The embedded corpus: what its names mean."""

from pathlib import Path

import pytest

from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.synthetic import read
from stages.corpora.utterance import Listing, Utterance


def listing_of(root: Path, *names: str) -> Listing:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return read(root, "sample")


def test_a_name_is_understood(tmp_path: Path):
    assert listing_of(tmp_path, "F1/F1_AN_s03.mp4").utterances == [
        Utterance(
            id="sample/F1_AN_s03",
            speaker="sample/F1",
            sex="female",
            emotion="anger",
            sentence="s03",
            video="F1/F1_AN_s03.mp4",
            audio="F1/F1_AN_s03.mp4",
        )
    ]


def test_each_code_is_its_emotion(tmp_path: Path):
    listing = listing_of(tmp_path, *(f"M1/M1_{code}_s01.mp4" for code in CODES))
    assert [item.emotion for item in listing.utterances] == list(EMOTIONS)


def test_ids_are_of_the_corpus_and_speakers_of_the_layout(tmp_path: Path):
    listing_of(tmp_path, "F1/F1_AN_s03.mp4")
    (utterance,) = read(tmp_path, "sample_noisy").utterances
    assert (utterance.id, utterance.speaker) == ("sample_noisy/F1_AN_s03", "sample/F1")


@pytest.mark.parametrize(
    "name",
    [
        "F1/._F1_AN_s03.mp4",
        "F1/F1_XX_s03.mp4",
        "F1/F1_AN.mp4",
        "F1/F1_AN_s03.wav",
        "F1_AN_s03.mp4",
        "README.txt",
    ],
)
def test_what_is_not_a_clip_is_passed_over(name: str, tmp_path: Path):
    assert listing_of(tmp_path, name) == Listing()
