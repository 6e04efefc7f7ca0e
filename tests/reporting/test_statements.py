"""What the report says of leaks follows from the protocol and the counts."""

from typing import Any

import pytest

from stages.reporting.statements import leak_statements

DETAILS = {
    "protocol": "paper", "n_folds": 5, "n_test": 168, "n_test_with_trained_face": 168,
    "n_test_with_suspected_copy": 0, "n_duplicates": 0, "selection": "uar", "visual": ["sample"],
}  # fmt: skip
SPLIT: dict[str, Any] = {"validated_by": "utterance", "suspected_copies": []}


def said(split: dict[str, Any] = SPLIT, **changes: Any) -> str:
    return " ".join(leak_statements(DETAILS | changes, split))


@pytest.mark.parametrize(
    "protocol, speakers, sentences",
    [
        ("paper", "speakers may be", "sentences may be"),
        ("speaker", "No test speaker", "sentences may be"),
        ("sentence", "speakers may be", "No test sentence"),
        ("speaker_sentence", "No test speaker", "No test sentence"),
        ("official", "speakers and sentences may be in both", "may be in both"),
    ],
)
def test_what_is_apart_follows_from_the_protocol(protocol: str, speakers: str, sentences: str):
    text = said(protocol=protocol)
    assert speakers in text and sentences in text and f"protocol {protocol}, 5 folds" in text
    assert ("No test speaker" in text) == (speakers == "No test speaker")
    assert ("No test sentence" in text) == (sentences == "No test sentence")


def test_faces_copies_and_the_choice_of_the_epoch_are_told_as_they_are():
    assert "The faces of 168 of the 168 test utterances were trained on" in said()
    assert "No face of a test utterance was trained on" in said(n_test_with_trained_face=0)
    assert "face of a test" not in said(n_test_with_trained_face=0, visual=[])
    assert "their speakers may be" in said()
    assert "neither train nor are tested" in said(SPLIT | {"validated_by": "speaker"})
    assert "Epochs were chosen" not in said(selection="last")
    assert "No recording was left out" in said() and "1 recording was left out" in said(
        n_duplicates=1
    )
    pairs = [(f"c/{i}", f"c/{i}b") for i in range(7)]
    text = said(SPLIT | {"suspected_copies": pairs}, n_test_with_suspected_copy=3)
    assert "7 pairs sound like" in text and "c/4 and c/4b; and 2 more" in text
    assert "c/5" not in text and "Of 3 test utterances" in text


def test_across_corpora_it_is_said_what_was_learned_from_and_what_tested():
    text = said(acoustic="ravdess", test="emodb", n_folds=1, n_test_with_trained_face=0)
    assert "another corpus: trained on ravdess, tested on emodb." in text
    assert "speakers may be trained on" not in text and "sentences may be" not in text
