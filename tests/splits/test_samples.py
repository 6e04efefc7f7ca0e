"""What samples carry of their copies, and which copies there are."""

import pytest

from stages.splits.protocols import KINDS, assign_roles, marks
from stages.splits.samples import (
    carried_marks,
    check_names,
    choose,
    overlaps_across,
    shared_classes,
    with_carried,
)
from tests.feature_files import Rows, utterances
from tests.helpers import user_error

VOICES = [{"modality": "acoustic", **row} for row in utterances("sample")]
FACES = [{"modality": "visual", **row} for row in utterances("sample")]


def face(name: str, **columns: str) -> dict[str, str]:
    other = {"id": f"folder/{name}", "speaker": "folder/p", "sentence": "t"}
    return FACES[0] | other | columns


def carrying(
    faces: Rows, voices: Rows, equal_faces: list[tuple[str, str]], equal_voices: list
) -> tuple[Rows, Rows]:
    found = carried_marks([*FACES, *faces, *voices], equal_faces, equal_voices)
    return with_carried(faces, found["visual"]), with_carried(voices, found["acoustic"])


def test_without_copies_nothing_is_carried():
    faces, voices = carrying(FACES, VOICES, [], [])
    assert {row["carried"] for row in faces + voices} == {""}


def test_a_face_carries_the_names_of_its_copies_and_of_the_copies_of_their_voices():
    first, second, third = (row["id"] for row in VOICES[:3])
    faces, voices = carrying(
        [face("x")], VOICES, [("folder/x", first)], [(third, second), (second, first)]
    )
    assert set(marks(faces[0], ["recording"])) == {
        ("recording", name) for name in ("folder/x", first, second, third)
    }
    assert set(marks(voices[2], ["recording"])) == {
        ("recording", name) for name in (first, second, third)
    }


@pytest.mark.parametrize("protocol", ["speaker", "sentence"])
def test_a_clip_in_two_corpora_makes_two_names_those_of_one_person_or_text(protocol: str):
    """Also in clips that are no copies."""
    tested = VOICES[0]
    faces, voices = carrying(
        [face("x"), face("y", speaker="folder/q", sentence="u"), face("z")],
        VOICES,
        [("folder/x", tested["id"])],
        [],
    )
    for row in faces:
        row |= {"emotion": "anger"}
    rows = assign_roles(faces, voices, protocol, 2, 0, 0)
    (fold,) = [k for k in range(2) if rows[len(faces)][f"fold_{k}"] == "test"]
    assert [row[f"fold_{fold}"] for row in rows[:3]] == ["out", "train", "out"]
    assert [row[f"fold_{1 - fold}"] for row in rows[:3]] == ["train"] * 3


def test_one_picture_of_all_does_not_make_their_voices_one():
    pairs = [(FACES[0]["id"], row["id"]) for row in FACES[1:]]
    faces, voices = carrying(FACES[:1], VOICES, pairs, [])
    assert {row["carried"] for row in voices} == {""}
    assert len(marks(faces[0], ["speaker"])) == 4
    plain = assign_roles([], VOICES, "speaker", 2, 0.2, 0)
    columns = ("id", "fold_0", "fold_1")
    assert [
        [row[key] for key in columns] for row in assign_roles([], voices, "speaker", 2, 0.2, 0)
    ] == [[row[key] for key in columns] for row in plain]


@pytest.mark.parametrize("protocol", ["paper", "speaker", "sentence", "speaker_sentence"])
def test_a_voice_that_overlaps_a_test_voice_is_not_learned_from(protocol: str):
    one, other = VOICES[0], VOICES[-1]  # of other speaker and sentence
    known = [row | {"overlaps": one["id"]} if row is other else row for row in VOICES]
    known[0] = one | {"overlaps": other["id"]}
    _, voices = carrying([], known, [], [])
    rows = assign_roles([], voices, protocol, 2, 0.2, 0)
    folds = [name for name in rows[0] if name.startswith("fold_")]
    for fold in folds:
        pair = {rows[0][fold], rows[-1][fold]}
        assert pair <= {"test", "out"} or "test" not in pair
    for row in rows[1:-1]:
        assert protocol == "speaker_sentence" or "out" not in [row[fold] for fold in folds]


def overlapping(*items: tuple[str, str, str]) -> Rows:
    return [
        {"id": name, "split": split, "overlaps": "\t".join(others)} for name, split, others in items
    ]


def test_of_overlapping_utterances_of_two_official_splits_the_first_is_kept():
    rows = overlapping(
        ("t", "test", "ud"), ("u", "test", "t"), ("d", "dev", "ta"), ("a", "train", "db"),
        ("b", "train", "a"), ("c", "train", ""),
    )  # fmt: skip
    assert overlaps_across(rows) == [("t", "d")]  # d is gone, so that a may stay


@pytest.mark.parametrize(
    "one, other",
    [
        ("Anna", "anna"),
        ("07", "7"),
        ("8", "8.0"),
        ("S 07", "S 7"),
        ("Straße", "STRASSE"),
        ("ｂ", "b"),
    ],
)
def test_one_speaker_in_two_spellings_is_refused_with_both(one: str, other: str):
    rows = [face("x", speaker=f"folder/{one}"), face("y", speaker=f"folder/{other}")]
    message = user_error(check_names, rows, "paper")
    assert repr(f"folder/{one}") in message and repr(f"folder/{other}") in message


@pytest.mark.parametrize("one, other", [("S1", "S10"), ("a", "b"), ("0", "00x"), ("1.5", "1.05")])
def test_names_that_differ_in_more_are_two(one: str, other: str):
    check_names([face("x", speaker=one), face("y", speaker=other)], "speaker")


def test_sentences_in_two_spellings_are_refused_where_they_are_kept_apart():
    rows = [face("x", sentence="Hello"), face("y", sentence="hello")]
    message = user_error(check_names, rows, "sentence")
    assert "'folder/Hello'" in message and "'folder/hello'" in message
    check_names(rows, "speaker")


def test_ids_of_variants_that_differ_in_case_are_refused_and_those_of_one_corpus_are_not():
    rows = [face("T1"), face("t1")]
    variant = face("t1") | {"id": "folder_grey/t1"}
    check_names([*rows, variant], "speaker")
    message = user_error(check_names, [rows[0], variant], "speaker")
    assert "'folder/T1'" in message and "'folder/t1'" in message


def test_all_kinds_of_marks_are_known():
    cells = {"split": "dev", "overlaps": "sample/x", "session": "sample/1", "dialogue": "sample/d"}
    found = carried_marks([FACES[0] | cells], [], [])
    (own,) = found["visual"].values()
    assert {kind for kind, _ in own} == set(KINDS)


def voices_of(corpus: str, emotions: list[str]) -> Rows:
    return [{"modality": "acoustic", **row} for row in utterances(corpus, 2, 1, emotions)]


def test_the_classes_across_corpora_are_those_that_both_have():
    voices = voices_of("ravdess", ["anger", "fear", "sadness"])
    voices += voices_of("tess", ["sadness", "anger", "disgust"])
    every = ("anger", "disgust", "fear", "sadness")
    assert shared_classes(voices, "tess", every) == ("anger", "sadness")
    assert shared_classes(voices, "", every) == every
    assert user_error(shared_classes, voices, "tess", ("disgust", "fear")) == (
        "params.yaml: test: of the classes disgust, fear voices of tess and of acoustic have none "
        "in common; choose other corpora or classes"
    )
    assert "have anger alone in common" in user_error(
        shared_classes, voices, "tess", ("anger", "fear")
    )


@pytest.mark.parametrize("protocol", ["paper", "official"])
def test_of_copies_across_corpora_the_test_utterance_is_kept_and_counts_as_both(protocol: str):
    learned, tested = voices_of("ravdess", ["anger", "fear"]), voices_of("tess", ["anger", "fear"])
    for row in learned:
        row["split"] = "train"
    tested[1] |= {"split": "train", "overlaps": tested[0]["id"]}  # parts that do not matter here
    tested[0] |= {"split": "test", "overlaps": tested[1]["id"]}
    equal = {"visual": [], "acoustic": [(tested[0]["id"], learned[0]["id"])]}
    rows = {"visual": [], "acoustic": learned + tested}
    every = ("anger", "fear")
    known = learned + tested
    found = choose(rows, known, equal, protocol, True, every, "tess")["acoustic"]
    assert found.copies == {learned[0]["id"]: tested[0]["id"]}
    assert [row["id"] for row in found.rows] == [row["id"] for row in learned[1:] + tested]
    assert f"speaker={learned[0]['speaker']}" in found.rows[3]["carried"]
    roles = assign_roles([], found.rows, "speaker", 2, 0, 0, "tess")
    assert [row["fold_0"] for row in roles] == ["out", "train", "train", *["test"] * 4]
    assert "is the same recording as" in user_error(
        choose, rows, known, equal, protocol, False, every, "tess"
    )
