"""Protocols: what is tested is kept from what trains, and the folds are fair."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError
from stages.splits.leaks import check_leaks
from stages.splits.protocols import (
    acoustic_roles,
    assign_roles,
    check_classes,
    corpus_of,
    recording_id,
    sentence_id,
    validated_by,
    with_validation,
)
from stages.splits.protocols import tested_with_visual_training as count_with_trained_face
from tests.feature_files import Rows, in_dialogues, in_sessions, officially_split, utterances

DIVIDED = (
    "paper",
    "speaker",
    "session",
    "sentence",
    "speaker_sentence",
)  # all protocols but "official"
PROTOCOLS = (*DIVIDED, "official")
OF_SPEAKERS = ("speaker", "session", "speaker_sentence")
OF_SENTENCES = ("sentence", "speaker_sentence")
SHARE = 0.2
ROLES = ["train", "validation", "test"]


def in_modality(modality: str, rows: Rows) -> Rows:
    return [{"modality": modality, **row} for row in rows]


def some(rows: Rows, share: float, rng: np.random.Generator) -> Rows:
    """A random `share` of the rows, but at least one."""
    chosen = rng.permutation(len(rows))[: max(1, round(share * len(rows)))]
    return [rows[i] for i in sorted(chosen)]


def manifest(speakers: int, sentences: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Visual samples of three corpora, two of them variants, and acoustic ones of a variant.

    There are gaps in all. The variants have an official split and a session of every two speakers,
    the third corpus has neither of these nor sentences.
    """
    rng = np.random.default_rng(seed)
    shape = {"speakers": speakers, "sentences": sentences}
    heard = in_sessions(officially_split(utterances("ravdess", **shape)))
    grey = in_sessions(officially_split(utterances("ravdess_grey", **shape)))
    foreign = [row | {"sentence": ""} for row in utterances("enterface", **shape)]
    faces = [row for of in (heard, grey, foreign) for row in some(of, share, rng)]
    voices = some((heard, grey)[seed % 2], share, rng)
    return in_modality("visual", faces), in_modality("acoustic", voices)


manifests = st.builds(
    manifest,
    st.one_of(st.integers(1, 5), st.integers(6, 9)),
    st.integers(1, 5),
    st.one_of(st.floats(0.05, 1), st.just(1.0)),
    st.integers(0, 2**31),
)
fold_numbers, seeds = st.integers(2, 5), st.integers(0, 2**31)


def divide(
    protocol: str, of: tuple[Rows, Rows], folds: int, seed: int, validation: float = SHARE
) -> tuple[Rows, int]:
    """The rows with their roles and the number of folds; not tried where the folds cannot be."""
    of_speakers = ("speaker", "speaker_sentence")
    grouped = {"speaker": of_speakers, "session": ("session",), "sentence": OF_SENTENCES}
    for key, protocols in grouped.items():
        if protocol in protocols and len({row[key] for row in of[1]}) < folds:
            reject()
    if protocol not in (
        "speaker",
        "session",
        "official",
    ):  # the others spread the emotions over the folds
        if max(Counter(row["emotion"] for row in of[1]).values()) < folds:
            reject()
    rows = assign_roles(*of, protocol, 1 if protocol == "official" else folds, validation, seed)
    return rows, len([name for name in rows[0] if name.startswith("fold_")])


def recording(row: dict[str, str]) -> str:
    """The clip behind a row of `manifest`, the same in ravdess and ravdess_grey."""
    return row["id"].replace("ravdess_grey/", "ravdess/")


def spoken(row: dict[str, str]) -> tuple[str, str]:
    """Corpus and sentence; corpora share no sentences."""
    return recording(row).split("/")[0], row["sentence"]


def having(rows: Rows, fold: int, *roles: str, modality: str = "acoustic") -> Rows:
    return [row for row in rows if row["modality"] == modality and row[f"fold_{fold}"] in roles]


def each(key: Any, rows: Rows) -> set[Any]:
    return {row[key] if isinstance(key, str) else key(row) for row in rows}


@given(st.sampled_from(PROTOCOLS), manifests, fold_numbers, seeds)
def test_every_sample_keeps_its_row_and_has_one_role_in_every_fold(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    columns = [f"fold_{fold}" for fold in range(folds)]
    kept = [{key: row[key] for key in row if key not in columns} for row in rows]
    assert kept == of[0] + of[1]
    assert all(row[name] in (*ROLES, "out") for row in rows for name in columns)


@given(st.sampled_from(DIVIDED), manifests, fold_numbers, seeds)
def test_every_voice_is_tested_in_exactly_one_fold(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    tested = Counter(row["id"] for fold in range(folds) for row in having(rows, fold, "test"))
    assert tested == {row["id"]: 1 for row in of[1]}


@given(st.sampled_from(PROTOCOLS), manifests, fold_numbers, seeds)
def test_faces_train_or_stay_out_and_never_validate_or_test(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    for fold in range(folds):
        assert having(rows, fold, "validation", "test", modality="visual") == []


@given(st.sampled_from(OF_SPEAKERS), manifests, fold_numbers, seeds)
def test_a_test_speaker_is_neither_seen_nor_heard_in_training(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    for fold in range(folds):
        learned = having(rows, fold, "train", "validation")
        learned += having(rows, fold, "train", modality="visual")
        tested = having(rows, fold, "test")
        assert each("speaker", tested).isdisjoint(each("speaker", learned))


@given(manifests, fold_numbers, seeds)
def test_a_test_session_is_neither_seen_nor_heard_in_training(of, folds, seed):
    rows, folds = divide("session", of, folds, seed)
    for fold in range(folds):
        learned = having(rows, fold, "train", "validation")
        learned += having(rows, fold, "train", modality="visual")
        tested = each("session", having(rows, fold, "test"))
        assert tested and tested.isdisjoint(each("session", learned))


def test_a_speaker_of_two_sessions_is_left_out_where_either_is_tested():
    rows = in_sessions(utterances("ravdess", speakers=6))
    for row in rows:
        if row["speaker"] == "ravdess/S5" and row["sentence"] == "s1":
            row["session"] = "ravdess/0"
    of = in_modality("visual", rows), in_modality("acoustic", rows)
    divided, _ = divide("session", of, 3, 0, validation=0)
    for fold in range(3):
        tested = each("session", having(divided, fold, "test"))
        out = [row for row in divided if row[f"fold_{fold}"] == "out"]
        assert {row["speaker"] for row in out if row["session"] not in tested} == (
            {"ravdess/S5"} if tested & {"ravdess/0", "ravdess/2"} else set()
        )


@given(st.sampled_from(OF_SENTENCES), manifests, fold_numbers, seeds)
def test_a_test_sentence_is_neither_seen_nor_heard_in_training(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    for fold in range(folds):
        learned = having(rows, fold, "train", "validation")
        learned += having(rows, fold, "train", modality="visual")
        assert each(spoken, having(rows, fold, "test")).isdisjoint(each(spoken, learned))


@given(st.sampled_from(PROTOCOLS[1:]), manifests, fold_numbers, seeds)
def test_the_face_of_a_held_out_voice_stays_out_in_any_variant(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    for fold in range(folds):
        held = each(recording, having(rows, fold, "test", "validation"))
        assert held.isdisjoint(each(recording, having(rows, fold, "train", modality="visual")))


@given(st.sampled_from(PROTOCOLS[1:]), manifests, fold_numbers, seeds)
def test_no_face_stays_out_without_a_reason(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    apart = validated_by(rows, folds) == "speaker"
    for fold in range(folds):
        tested = having(rows, fold, "test")
        held = each(recording, having(rows, fold, "test", "validation"))
        validated = each("speaker", having(rows, fold, "validation")) if apart else set()
        for row in having(rows, fold, "out", modality="visual"):
            assert (
                recording(row) in held
                or row["speaker"] in validated
                or (protocol in OF_SPEAKERS and row["speaker"] in each("speaker", tested))
                or (protocol in OF_SENTENCES and spoken(row) in each(spoken, tested))
                or (protocol == "official" and row["split"] in ("test", "dev"))
            )


@given(manifests, fold_numbers, seeds)
def test_paper_trains_on_all_faces(of, folds, seed):
    rows, folds = divide("paper", of, folds, seed)
    assert all(not having(rows, fold, "out", modality="visual") for fold in range(folds))


@given(st.sampled_from(["paper", "speaker", "session", "sentence"]), manifests, fold_numbers, seeds)
def test_no_voice_stays_out_where_one_thing_is_divided(protocol, of, folds, seed):
    rows, folds = divide(protocol, of, folds, seed)
    assert all(not having(rows, fold, "out") for fold in range(folds))


@given(manifests, fold_numbers, seeds)
def test_paper_tests_equally_many_voices_of_each_emotion_in_all_folds(of, folds, seed):
    rows, folds = divide("paper", of, folds, seed)
    for emotion in (*EMOTIONS, "any"):
        counts = [
            sum(emotion in (row["emotion"], "any") for row in having(rows, fold, "test"))
            for fold in range(folds)
        ]
        assert max(counts) - min(counts) <= 1


@given(manifests, fold_numbers, seeds)
def test_all_folds_test_equally_many_speakers(of, folds, seed):
    rows, folds = divide("speaker", of, folds, seed)
    counts = [len(each("speaker", having(rows, fold, "test"))) for fold in range(folds)]
    assert max(counts) - min(counts) <= 1 and min(counts) >= 1


@given(st.sampled_from(OF_SENTENCES), manifests, fold_numbers, seeds)
def test_every_part_of_the_sentences_is_tested(protocol, of, folds, seed):
    rows, _ = divide(protocol, of, folds, seed)
    # Of "speaker_sentence" the folds 0 .. folds - 1 test one part of the speakers, and so on.
    parts = [
        set().union(*(each("sentence", having(rows, fold, "test")) for fold in folds_of_part))
        for folds_of_part in (
            [[part] for part in range(folds)]
            if protocol == "sentence"
            else [range(part, folds * folds, folds) for part in range(folds)]
        )
    ]
    assert all(parts) and sum(map(len, parts)) == len(set().union(*parts))


@given(seeds)
def test_the_sentence_folds_spread_the_emotions_evenly(seed):
    rows, folds = divide(
        "sentence", (in_modality("visual", savee()), in_modality("acoustic", savee())), 2, seed
    )
    for emotion in EMOTIONS:
        counts = [
            sum(row["emotion"] == emotion for row in having(rows, fold, "test"))
            for fold in range(folds)
        ]
        assert counts[0] == counts[1]


@given(seeds)
def test_two_variants_of_a_recording_are_tested_in_the_same_fold(seed):
    voices = in_modality("acoustic", utterances("ravdess") + utterances("ravdess_grey"))
    rows, folds = divide("paper", ([], voices), 3, seed, validation=0)
    for fold in range(folds):
        tested = Counter(recording(row) for row in having(rows, fold, "test"))
        assert tested and set(tested.values()) == {2}


@pytest.mark.parametrize("protocol", ["paper", *OF_SENTENCES])
def test_more_folds_than_utterances_of_any_emotion_are_refused(protocol: str):
    voices = utterances("ravdess", speakers=3, sentences=1)
    with pytest.raises(UserError, match=r"folds: 5 is more than the 3 .* any emotion; .* <= 3$"):
        acoustic_roles(protocol, voices, 5, 0)


@given(st.sampled_from(DIVIDED), manifests, fold_numbers, seeds)
def test_validation_takes_training_voices_of_each_emotion_and_nothing_else(
    protocol, of, folds, seed
):
    plain, _ = divide(protocol, of, folds, seed, validation=0)
    rows, folds = divide(protocol, of, folds, seed)
    for fold in range(folds):
        before, after = (
            {row["id"]: row[f"fold_{fold}"] for row in part if row["modality"] == "acoustic"}
            for part in (plain, rows)
        )
        changed = {name: role for name, role in after.items() if role != before[name]}
        assert set(changed.values()) <= {"validation"}
        assert {before[name] for name in changed} <= {"train"}


@given(st.sampled_from(DIVIDED), manifests, fold_numbers, seeds)
def test_validation_speakers_are_whole_where_enough_speakers_are_left(protocol, of, folds, seed):
    """Neither seen nor heard in training, with every emotion; else each fold has its share."""
    plain, _ = divide(protocol, of, folds, seed, validation=0)
    rows, folds = divide(protocol, of, folds, seed)
    apart = validated_by(rows, folds) == "speaker"
    assert not apart or protocol in OF_SPEAKERS
    for fold in range(folds if apart else 0):
        held, learned = having(rows, fold, "validation"), having(rows, fold, "train")
        seen = having(rows, fold, "train", modality="visual")
        assert each("speaker", held).isdisjoint(each("speaker", learned + seen))
        assert len(each("speaker", learned)) >= 4
        before = having(plain, fold, "train")
        assert each("emotion", held) == each("emotion", learned) == each("emotion", before)
        assert each("emotion", seen) == each(
            "emotion", having(plain, fold, "train", modality="visual")
        )
        assert each("id", held + learned) == each("id", before)


@pytest.mark.parametrize(
    "protocol, speakers, folds, expected",
    [
        ("speaker", 4, 4, "utterance"),  # 3 train, as in SAVEE
        ("speaker", 5, 5, "utterance"),  # 4 train: 3 would be left
        ("speaker", 6, 6, "speaker"),
        ("speaker", 10, 5, "speaker"),  # as in IEMOCAP
        ("speaker", 24, 5, "speaker"),  # as in RAVDESS
        ("speaker", 6, 2, "utterance"),  # 3 train
        ("session", 6, 3, "utterance"),  # 4 train: 3 would be left
        ("session", 10, 5, "speaker"),
        ("speaker_sentence", 10, 2, "speaker"),
        ("sentence", 10, 2, "utterance"),
        ("paper", 10, 2, "utterance"),
    ],
)
def test_validation_is_of_whole_speakers_from_five_that_train(
    protocol: str, speakers: int, folds: int, expected: str
):
    for validation in (0.1, SHARE, 0.5):
        rows = roles_of("ravdess", protocol, folds, validation, speakers=speakers)
        count = sum(name.startswith("fold_") for name in rows[0])
        if validation == 0.5 and expected == "speaker":  # half of 5 leaves fewer than 4
            continue
        assert validated_by(rows, count) == expected
        for fold in range(count):
            held, learned = having(rows, fold, "validation"), having(rows, fold, "train")
            share = len(held) / len(held + learned)
            assert share == pytest.approx(validation, abs=0.1)


def test_an_emotion_of_one_speaker_alone_does_not_validate_whole_speakers():
    rows = [
        row
        for row in utterances("ravdess", speakers=8)
        if row["emotion"] != "fear" or row["speaker"] in ("ravdess/S0", "ravdess/S1")
    ]
    faces, voices = in_modality("visual", rows), in_modality("acoustic", rows)
    divided = assign_roles(faces, voices, "speaker", 4, SHARE, 0)
    assert validated_by(divided, 4) == "utterance"


def test_faces_of_validation_speakers_stay_out_even_without_a_voice():
    rows = utterances("ravdess", speakers=8)
    voices = [row for row in rows if row["sentence"] == "s0"]
    of = in_modality("visual", rows), in_modality("acoustic", voices)
    assert validated_by(assign_roles(*of, "speaker", 4, SHARE, 0), 4) == "speaker"


def test_another_seed_gives_other_validation_speakers():
    divided = [roles_of("ravdess", "speaker", 2, speakers=12, seed=seed) for seed in range(6)]
    held = {frozenset(each("speaker", having(rows, 0, "validation"))) for rows in divided}
    assert len(held) > 2


@pytest.mark.parametrize(
    "protocol, expected",
    [("session", "dialogue"), ("paper", "dialogue"), ("sentence", "dialogue"),
     ("speaker", "speaker"), ("official", "dialogue")],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_where_there_are_dialogues_whole_ones_validate(protocol: str, expected: str, seed: int):
    """But for speakers, who go before; every emotion is in both parts."""
    rows = in_dialogues(in_sessions(utterances("iemocap", speakers=10, sentences=8)))
    rows = officially_split(rows)
    faces = [] if protocol == "paper" else in_modality("visual", rows)
    of = faces, in_modality("acoustic", rows)
    divided, folds = divide(protocol, of, 5, seed, validation=0.15)
    assert validated_by(divided, folds) == expected
    for fold in range(folds):
        held, learned = having(divided, fold, "validation"), having(divided, fold, "train")
        seen = having(divided, fold, "train", modality="visual")
        assert each("emotion", held) == each("emotion", learned) == set(EMOTIONS)
        if expected == "dialogue":
            assert each("dialogue", held).isdisjoint(each("dialogue", learned))
            assert each("dialogue", held).isdisjoint(each("dialogue", seen))
            assert len(held) / len(held + learned) == pytest.approx(0.15, abs=0.1)


def test_an_utterance_outside_of_dialogues_validates_by_itself():
    rows = utterances("mspimprov", speakers=4, sentences=8)
    alone = [row for row in rows if row["sentence"] < "s4"]
    rows = alone + in_dialogues([row for row in rows if row["sentence"] >= "s4"])
    divided = assign_roles([], in_modality("acoustic", rows), "paper", 2, SHARE, 0)
    assert validated_by(divided, 2) == "dialogue"
    assert {row["dialogue"] == "" for row in having(divided, 0, "validation")} == {True, False}


def test_faces_of_a_validation_dialogue_stay_out_even_without_a_voice():
    rows = in_dialogues(in_sessions(utterances("iemocap", speakers=8, sentences=8)))
    voices = [row for row in rows if row["sentence"] not in ("s0", "s3")]
    of = in_modality("visual", rows), in_modality("acoustic", voices)
    divided, folds = divide("session", of, 4, 0)
    assert validated_by(divided, folds) == "dialogue"
    for fold in range(folds):
        held = each("dialogue", having(divided, fold, "validation"))
        assert held.isdisjoint(each("dialogue", having(divided, fold, "train", modality="visual")))


def test_of_a_single_dialogue_utterances_validate():
    rows = in_dialogues(utterances("iemocap", speakers=2), takes=9)
    divided = assign_roles([], in_modality("acoustic", rows), "paper", 2, SHARE, 0)
    assert validated_by(divided, 2) == "utterance" and having(divided, 0, "validation")


@given(
    st.lists(st.sampled_from(["test", "out", *["train"] * 6]), max_size=80),
    st.lists(st.sampled_from("abc"), min_size=80, max_size=80),
    st.floats(0, 0.5),
    seeds,
)
def test_the_validation_part_has_its_share_of_each_emotion(roles, emotions, share, seed):
    emotions = emotions[: len(roles)]
    found = with_validation(roles, emotions, share, np.random.default_rng(seed))
    for emotion in "abc":
        n = sum(role == "train" and of == emotion for role, of in zip(roles, emotions))
        count = sum(role == "validation" and of == emotion for role, of in zip(found, emotions))
        if share == 0 or n < 2:
            assert count == 0
        else:
            assert 1 <= count <= n - 1
            assert abs(count - share * n) <= 0.5 or count in (1, n - 1)
    kept = [(old, new) for old, new in zip(roles, found) if new != "validation"]
    assert all(old == new for old, new in kept)


def test_a_validation_share_of_0_takes_no_voice():
    rows, folds = divide("paper", manifest(3, 3, 1, 0), 3, 0, validation=0)
    assert all(not having(rows, fold, "validation") for fold in range(folds))


@given(st.sampled_from(PROTOCOLS), manifests, fold_numbers, seeds)
def test_the_same_seed_gives_the_same_roles(protocol, of, folds, seed):
    assert divide(protocol, of, folds, seed) == divide(protocol, of, folds, seed)


@pytest.mark.parametrize("validation", [0, SHARE])
@pytest.mark.parametrize("protocol", DIVIDED)
def test_another_seed_gives_other_folds(protocol: str, validation: float):
    of = manifest(5, 5, 1, 0)
    first, second = (divide(protocol, of, 3, seed, validation)[0] for seed in (0, 1))
    tested = [[having(rows, fold, "test") for fold in range(3)] for rows in (first, second)]
    assert [each("id", part) for part in tested[0]] != [each("id", part) for part in tested[1]]


def test_another_seed_gives_another_validation_part_of_the_same_fold():
    emotions, roles = ["a"] * 40, ["train"] * 40
    first, second = (
        with_validation(roles, emotions, SHARE, np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert first != second


def test_the_validation_parts_of_the_folds_are_drawn_apart():
    rows, _ = divide("paper", manifest(4, 4, 1, 0), 2, 0)
    # Drawn with the same numbers, they would stand at the same places among those that train.
    places: list[list[tuple[str, int]]] = [[], []]
    for fold in range(2):
        for emotion in EMOTIONS:
            learned = [
                row
                for row in having(rows, fold, "train", "validation")
                if row["emotion"] == emotion
            ]
            assert len(learned) == 8
            places[fold] += [
                (emotion, i) for i, row in enumerate(learned) if row[f"fold_{fold}"] == "validation"
            ]
    assert places[0] != places[1]


@pytest.mark.parametrize("folds", [2, 3])
def test_speaker_sentence_leaves_out_what_shares_only_one_of_the_two(folds: int):
    of = (
        in_modality("visual", utterances("ravdess", 3, 4)),
        in_modality("acoustic", utterances("ravdess", 3, 4)),
    )
    rows, found = divide("speaker_sentence", of, folds, 0, validation=0)
    assert found == folds * folds
    for fold in range(found):
        tested = having(rows, fold, "test")
        speakers, texts = each("speaker", tested), each("sentence", tested)
        assert speakers and texts
        for row in rows:
            shared = (row["speaker"] in speakers) + (row["sentence"] in texts)
            role = ["train", "out", "test" if row["modality"] == "acoustic" else "out"][shared]
            assert row[f"fold_{fold}"] == role


def savee(speakers: int = 4) -> Rows:
    """Voices as of SAVEE: 2 texts that every emotion shares, and 4 of each emotion's own."""
    rows = []
    for row in utterances("savee", speakers, sentences=6):
        number = int(row["sentence"][1:])
        rows.append(row if number < 2 else row | {"sentence": f"{row['emotion']}{number}"})
    return rows


@pytest.mark.parametrize("folds", [2, 3, 4])
@pytest.mark.parametrize("protocol", OF_SENTENCES)
def test_texts_said_in_one_emotion_only_leave_every_fold_all_emotions(protocol: str, folds: int):
    of = in_modality("visual", savee()), in_modality("acoustic", savee())
    for seed in range(20):
        rows, found = divide(protocol, of, folds, seed)
        check_classes(rows, found)  # refuses a fold without an emotion


def test_a_text_is_the_same_in_variants_of_a_corpus_and_in_no_other_corpus():
    ours, grey, foreign = (
        {sentence_id(row) for row in utterances(name)}
        for name in ("ravdess", "ravdess_grey", "savee")
    )
    assert ours == grey and ours.isdisjoint(foreign)


def test_a_corpus_that_tells_no_sentence_has_no_text():
    assert sentence_id({"id": "enterface/x", "sentence": ""}) == ""


def test_official_takes_the_parts_of_the_publisher():
    heard = officially_split(utterances("meld", sentences=4))
    rows = assign_roles(heard, in_modality("acoustic", heard), "official", 1, SHARE, 0)
    expected = {"train": "train", "dev": "validation", "test": "test"}
    voices = rows[len(heard) :]
    assert [row["fold_0"] for row in voices] == [expected[row["split"]] for row in voices]
    faces = rows[: len(heard)]
    assert all((row["fold_0"] == "train") == (row["split"] == "train") for row in faces)


def test_official_trains_on_the_faces_of_corpora_that_have_no_split():
    heard = officially_split(utterances("meld", sentences=3))
    faces = utterances("ravdess")
    rows = assign_roles(faces, heard, "official", 1, SHARE, 0)
    assert {row["fold_0"] for row in rows[: len(faces)]} == {"train"}


@pytest.mark.parametrize("part", ["test", "dev"])
def test_official_keeps_out_test_faces_whose_voice_has_no_features(part: str):
    rows = officially_split(utterances("meld", sentences=3))
    place = next(i for i, row in enumerate(rows) if row["split"] == part)
    voices = rows[:place] + rows[place + 1 :]
    assert assign_roles(rows, voices, "official", 1, 0, 0)[place]["fold_0"] == "out"


def test_official_without_a_split_is_refused_and_names_the_utterance():
    voices = utterances("ravdess")
    expected = f"params.yaml: protocol: {voices[0]['id']} has no official split .* another protocol"
    with pytest.raises(UserError, match=expected):
        acoustic_roles("official", voices, 1, 0)


@pytest.mark.parametrize("folds", [2, 5])
def test_official_with_several_folds_is_refused(folds: int):
    voices = officially_split(utterances("meld"))
    with pytest.raises(UserError, match=f"folds: protocol official has one fold, not {folds}"):
        acoustic_roles("official", voices, folds, 0)


@pytest.mark.parametrize("protocol", DIVIDED)
def test_a_single_fold_is_refused(protocol: str):
    with pytest.raises(UserError, match=f"folds: protocol {protocol} needs at least 2, not 1$"):
        acoustic_roles(protocol, utterances("ravdess"), 1, 0)


@pytest.mark.parametrize("protocol", OF_SPEAKERS)
def test_more_folds_than_speakers_or_sessions_are_refused(protocol: str):
    rows = in_sessions(utterances("ravdess", speakers=4, sentences=6))
    message = "2 sessions .* folds <= 2$" if protocol == "session" else "4 speakers .* folds <= 4$"
    with pytest.raises(UserError, match=f"folds: 5 is more than the {message}"):
        acoustic_roles(protocol, rows, 5, 0)


def test_a_corpus_without_sessions_is_refused_and_names_the_utterance():
    voices = in_sessions(utterances("iemocap"))
    voices[3]["session"] = ""
    expected = f"protocol: {voices[3]['id']} has no session in its corpus; choose another protocol"
    with pytest.raises(UserError, match=expected):
        acoustic_roles("session", voices, 2, 0)


@pytest.mark.parametrize("protocol", OF_SENTENCES)
def test_more_folds_than_sentences_are_refused(protocol: str):
    with pytest.raises(UserError, match=r"folds: 5 is more than the 2 sentences .* folds <= 2$"):
        acoustic_roles(protocol, utterances("ravdess", speakers=6, sentences=2), 5, 0)


@pytest.mark.parametrize("protocol", OF_SENTENCES)
def test_a_corpus_without_sentences_is_refused_and_names_the_utterance(protocol: str):
    voices = utterances("enterface")
    voices[3]["sentence"] = ""
    expected = f"protocol: {voices[3]['id']} has no sentence in its corpus; choose another protocol"
    with pytest.raises(UserError, match=expected):
        acoustic_roles(protocol, voices, 2, 0)


def roles_of(
    corpus: str = "sample",
    protocol: str = "paper",
    folds: int = 2,
    validation: float = SHARE,
    seed: int = 0,
    **shape: Any,
) -> Rows:
    rows = in_sessions(utterances(corpus, **shape))
    faces, voices = in_modality("visual", rows), in_modality("acoustic", rows)
    return assign_roles(faces, voices, protocol, folds, validation, seed)


def out_of_fold_1(rows: Rows, **those: str) -> Rows:
    """The rows, those that have these values left out of fold 1."""
    return [row | {"fold_1": "out"} if those.items() <= row.items() else row for row in rows]


def test_an_emotion_in_every_role_of_every_fold_is_accepted():
    check_classes(roles_of(), 2)


@pytest.mark.parametrize(
    "modality, role", [("visual", "train"), ("acoustic", "train"), ("acoustic", "test")]
)
def test_a_fold_without_an_emotion_is_named(modality: str, role: str):
    rows = out_of_fold_1(roles_of(), modality=modality, emotion="fear", fold_1=role)
    expected = f"fold 1 has no {modality} {role} sample of fear; .*allow_missing_classes: true$"
    with pytest.raises(UserError, match=expected):
        check_classes(rows, 2)
    check_classes(rows, 2, allow_missing=True)


@pytest.mark.parametrize(
    "modality, role", [("visual", "train"), ("acoustic", "train"), ("acoustic", "test")]
)
def test_a_fold_with_nothing_to_train_or_to_test_is_refused_even_on_request(
    modality: str, role: str
):
    rows = out_of_fold_1(roles_of(), modality=modality, fold_1=role)
    with pytest.raises(UserError, match=f"fold 1 has no {modality} {role} sample of anger, "):
        check_classes(rows, 2, allow_missing=True)


@pytest.mark.parametrize("identity", ["ravdess/01-05", "ravdess_grey/01-05"])
def test_variants_of_a_corpus_hold_the_same_recordings(identity: str):
    assert recording_id(identity) == "ravdess/01-05"


def test_in_protocol_paper_every_tested_voice_has_its_face_trained():
    assert count_with_trained_face(roles_of(), 2) == len(utterances("sample"))


@pytest.mark.parametrize(
    "protocol, folds", [("speaker", 2), ("session", 2), ("sentence", 2), ("speaker_sentence", 4)]
)
def test_in_the_other_protocols_no_tested_voice_has_its_face_trained(protocol: str, folds: int):
    assert count_with_trained_face(roles_of(protocol=protocol), folds) == 0


def test_a_face_of_a_variant_counts_as_that_of_the_recording():
    faces = in_modality("visual", utterances("ravdess_grey")[:5])
    voices = in_modality("acoustic", utterances("ravdess"))
    assert count_with_trained_face(assign_roles(faces, voices, "paper", 2, 0, 0), 2) == 5


def test_a_face_of_another_corpus_does_not_count():
    faces = in_modality("visual", utterances("savee"))
    voices = in_modality("acoustic", utterances("ravdess"))
    assert count_with_trained_face(assign_roles(faces, voices, "paper", 2, 0, 0), 2) == 0


def training_speakers(rows: Rows, fold: int) -> set[str]:
    return each("speaker", having(rows, fold, "train"))


@given(
    st.sampled_from(PROTOCOLS),
    manifests,
    fold_numbers,
    seeds,
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
)
def test_the_speakers_of_a_smaller_share_are_among_those_of_a_larger(
    protocol, of, folds, seed, shares
):
    whole, folds = divide(protocol, of, folds, seed)
    asked = 1 if protocol == "official" else folds
    if protocol == "speaker_sentence":
        asked = round(folds**0.5)
    smaller, larger = (
        assign_roles(*of, protocol, asked, SHARE, seed, train_share=share)
        for share in sorted(shares)
    )
    for fold in range(folds):
        n = len(training_speakers(whole, fold))
        for share, rows in zip(sorted(shares), (smaller, larger)):
            assert len(training_speakers(rows, fold)) == (max(1, round(share * n)) if n else 0)
        few, more, everyone = (training_speakers(rows, fold) for rows in (smaller, larger, whole))
        assert few <= more <= everyone
        for row, other in zip(smaller, whole):
            role, before = row[f"fold_{fold}"], other[f"fold_{fold}"]
            gone = before == "train" and row["speaker"] in everyone - few
            assert role == ("out" if gone else before), row["id"]


def test_a_share_of_one_is_all_and_another_seed_draws_other_speakers():
    of = manifest(9, 3, 1.0, 0)
    assert assign_roles(*of, "paper", 2, SHARE, 0, train_share=1.0) == assign_roles(
        *of, "paper", 2, SHARE, 0
    )
    drawn = {
        tuple(sorted(training_speakers(assign_roles(*of, "paper", 2, 0, k, "", 0.3), 0)))
        for k in range(9)
    }
    assert len(drawn) > 3 and {len(names) for names in drawn} == {3}


def test_a_share_of_speakers_who_are_not_told_is_refused():
    faces, voices = manifest(4, 3, 1.0, 0)
    voices[5]["speaker"] = ""
    with pytest.raises(UserError, match="^params.yaml: train_share: .* has no speaker in its corp"):
        assign_roles(faces, voices, "sentence", 2, SHARE, 0, train_share=0.5)


def across(protocol: str, of: tuple[Rows, Rows], seed: int) -> tuple[Rows, str]:
    """Roles where another corpus is tested: one of other people, or a variant of what trains."""
    faces, voices = of
    tested = in_modality("acoustic", in_sessions(utterances("tess", 3, 2)))
    if seed % 2:
        variant = {"ravdess": "ravdess_grey", "ravdess_grey": "ravdess"}
        name = variant[corpus_of(voices[0]["id"])]
        tested = [row | {"id": f"{name}/{row['id'].split('/')[1]}"} for row in voices[::3]]
    test = corpus_of(tested[0]["id"])
    seen = in_modality("visual", utterances("tess", 3, 2))
    return assign_roles(faces + seen, voices + tested, protocol, 5, SHARE, seed, test), test


@given(st.sampled_from(PROTOCOLS), manifests, seeds)
def test_all_of_another_corpus_is_tested_and_nothing_of_it_is_learned(protocol, of, seed):
    rows, test = across(protocol, of, seed)
    assert [key for key in rows[0] if key.startswith("fold_")] == ["fold_0"]
    for row in rows:
        is_test = row["modality"] == "acoustic" and corpus_of(row["id"]) == test
        assert (row["fold_0"] == "test") == is_test
    tested = each(recording, having(rows, 0, "test"))
    for modality in ("visual", "acoustic"):
        learned = having(rows, 0, "train", "validation", modality=modality)
        assert tested.isdisjoint(each(recording, learned))
    validated = each(recording, having(rows, 0, "validation"))
    assert validated.isdisjoint(each(recording, having(rows, 0, "train", modality="visual")))
    if protocol in OF_SPEAKERS:
        speakers = each("speaker", having(rows, 0, "test"))
        assert speakers.isdisjoint(each("speaker", having(rows, 0, "train")))
    assert check_leaks(rows, protocol, 1, validated_by(rows, 1)) is None
    faces = [row for row in rows if row["modality"] == "visual" and row["fold_0"] == "out"]
    for row in faces:  # as no protocol lets the face of a test utterance train across corpora
        if recording(row) in tested:
            leaked = [other | {"fold_0": "train"} if other is row else other for other in rows]
            with pytest.raises(UserError, match=f"visual sample of {row['id']}, which is learned"):
                check_leaks(leaked, protocol, 1, "utterance")


def test_what_trains_across_corpora_validates_as_the_protocol_says():
    voices = in_modality("acoustic", utterances("ravdess", 8, 3))
    tested = in_modality("acoustic", in_dialogues(utterances("tess", 3, 2)))
    for protocol, unit in (("speaker", "speaker"), ("paper", "utterance")):
        rows = assign_roles([], voices + tested, protocol, 5, SHARE, 0, "tess")
        assert validated_by(rows, 1) == unit
        assert len(having(rows, 0, "train", "validation")) == len(voices)


def test_across_corpora_the_official_parts_are_those_of_what_trains():
    voices = in_modality("acoustic", officially_split(utterances("ravdess", 3, 4)))
    tested = in_modality("acoustic", utterances("tess", 3, 2))  # has none
    rows = assign_roles([], voices + tested, "official", 5, SHARE, 0, "tess")
    part = {"test": "out", "dev": "validation", "train": "train", "": "test"}
    assert [row["fold_0"] for row in rows] == [part[row["split"]] for row in rows]
    voices[0]["split"] = ""
    with pytest.raises(UserError, match="has no official split"):
        assign_roles([], voices + tested, "official", 1, SHARE, 0, "tess")
