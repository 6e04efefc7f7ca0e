"""Test utterances whose words were learned from."""

from stages.splits import texts


def row(name: str, *roles: str, modality: str = "acoustic") -> dict[str, str]:
    return {"id": name, "modality": modality, **{f"fold_{k}": role for k, role in enumerate(roles)}}


TEXTS = {"a": "Yeah.", "b": " yeah. ", "c": "So  what\nnow?", "d": "so what now?", "e": "No!"}


def test_a_test_utterance_counts_that_says_what_a_training_one_says():
    rows = [
        row("a", "train", "test"),
        row("b", "test", "train"),
        row("c", "test", "train"),
        row("d", "validation", "test"),
        row("e", "test", "test"),
        row("f", "test", "train"),  # of which no text is known
        row("g", "train", "test"),
    ]
    assert texts.tested_with_trained_text(rows, TEXTS, 1) == 1  # b
    assert texts.tested_with_trained_text(rows, TEXTS, 2) == 3  # a and d, too


def test_a_face_says_nothing():
    rows = [row("a", "train", modality="visual"), row("b", "test")]
    assert texts.tested_with_trained_text(rows, TEXTS, 1) == 0
