"""The split: roles by protocol, refusals, and what is told about leaks."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.emotions import EMOTIONS
from stages.failures import UserError
from stages.files import file_sha256, read_json, read_table
from stages.protocols import require_classes, take
from stages.protocols import tested_with_trained_face as count_with_trained_face
from stages.split import assign_roles, main, shuffled_labels
from tests.feature_files import SETTINGS, Rows, utterances, write_corpus, write_params


def in_modality(modality: str, rows: Rows) -> Rows:
    return [{"modality": modality, **row} for row in rows]


def split_of(corpus: str = "sample", protocol: str = "paper", folds: int = 2, **shape: Any) -> Rows:
    rows = utterances(corpus, **shape)
    faces, voices = in_modality("visual", rows), in_modality("acoustic", rows)
    return assign_roles(faces, voices, protocol, folds, 0)


def roles(rows: Rows, modality: str, fold: int) -> dict[str, str]:
    return {row["id"]: row[f"fold_{fold}"] for row in rows if row["modality"] == modality}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the corpus `sample`, seen and heard, and its params."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    write_corpus(tmp_path, "sample", utterances("sample"))
    return tmp_path


def run_split() -> tuple[Rows, dict[str, Any]]:
    main()
    return read_table(Path("data/split.csv")), read_json(Path("data/split.json"))


def complaint() -> str:
    with pytest.raises(UserError) as caught:
        main()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
def test_every_voice_is_tested_in_one_fold_and_trains_in_the_others(protocol: str):
    rows = split_of(protocol=protocol, folds=4)
    for row in rows:
        if row["modality"] == "acoustic":
            found = Counter(row[f"fold_{fold}"] for fold in range(4))
            assert found == {"test": 1, "train": 3}


def test_no_face_is_ever_tested():
    rows = split_of(folds=2)
    assert {role for fold in (0, 1) for role in roles(rows, "visual", fold).values()} == {"train"}


def test_protocol_speaker_trains_on_no_face_and_no_voice_of_a_speaker_that_it_tests():
    rows = split_of(protocol="speaker", folds=4)
    for fold in range(4):
        tested = {row["speaker"] for row in rows if row[f"fold_{fold}"] == "test"}
        trained = {row["speaker"] for row in rows if row[f"fold_{fold}"] == "train"}
        assert len(tested) == 1 and len(trained) == 3 and tested.isdisjoint(trained)


def test_an_emotion_in_every_role_of_every_fold_is_accepted():
    require_classes(split_of(), 2)


@pytest.mark.parametrize(
    "modality, role", [("visual", "train"), ("acoustic", "train"), ("acoustic", "test")]
)
def test_a_fold_without_an_emotion_is_named(modality: str, role: str):
    rows = [
        row for row in split_of()
        if (row["modality"], row["emotion"]) != (modality, "fear")
        or (modality == "acoustic" and row["fold_0"] != role)
    ]
    expected = f"fold 0 has no {modality} {role} sample of fear; .*allow_missing_classes: true$"
    with pytest.raises(UserError, match=expected):
        require_classes(rows, 2)


def test_shuffled_labels_keep_the_face_and_the_voice_of_an_utterance_together():
    rows = utterances("sample", speakers=6)
    shuffled = shuffled_labels(in_modality("visual", rows) + in_modality("acoustic", rows[5:]), 0)
    emotions: dict[str, set[str]] = {}
    for row in shuffled:
        emotions.setdefault(row["id"], set()).add(row["emotion"])
    assert all(len(found) == 1 for found in emotions.values())


def test_shuffled_labels_keep_the_face_and_the_voice_of_a_recording_together_across_variants():
    faces = in_modality("visual", utterances("ravdess_grey", speakers=6))
    voices = in_modality("acoustic", utterances("ravdess", speakers=6))
    shuffled = shuffled_labels(faces + voices, 0)
    of_face = {take(row["id"]): row["emotion"] for row in shuffled[: len(faces)]}
    of_voice = {take(row["id"]): row["emotion"] for row in shuffled[len(faces):]}
    assert of_face == of_voice


def test_shuffled_labels_keep_the_number_of_utterances_of_each_emotion():
    rows = in_modality("acoustic", utterances("sample")[:41])
    before, after = (Counter(row["emotion"] for row in part)
                     for part in (rows, shuffled_labels(rows, 0)))
    assert before == after


def test_shuffled_labels_change_nothing_but_the_labels():
    rows = in_modality("acoustic", utterances("sample"))
    shuffled = shuffled_labels(rows, 0)
    assert [row | {"emotion": ""} for row in shuffled] == [row | {"emotion": ""} for row in rows]


def test_shuffled_labels_say_nothing_about_the_true_ones():
    rows = in_modality("acoustic", utterances("sample", speakers=30))
    kept = sum(a["emotion"] == b["emotion"] for a, b in zip(rows, shuffled_labels(rows, 0)))
    assert 0.05 < kept / len(rows) < 0.25


def test_shuffled_labels_follow_the_seed():
    rows = in_modality("acoustic", utterances("sample"))
    assert shuffled_labels(rows, 0) == shuffled_labels(rows, 0) != shuffled_labels(rows, 1)


@pytest.mark.parametrize("identity", ["ravdess/01-05", "ravdess_grey/01-05"])
def test_variants_of_a_corpus_hold_the_same_recordings(identity: str):
    assert take(identity) == "ravdess/01-05"


def test_in_protocol_paper_every_tested_voice_has_its_face_trained():
    assert count_with_trained_face(split_of(), 2) == len(utterances("sample"))


def test_in_protocol_speaker_no_tested_voice_has_its_face_trained():
    assert count_with_trained_face(split_of(protocol="speaker", folds=4), 4) == 0


def test_a_face_of_a_variant_counts_as_that_of_the_recording():
    faces = in_modality("visual", utterances("ravdess_grey")[:5])
    voices = in_modality("acoustic", utterances("ravdess"))
    assert count_with_trained_face(assign_roles(faces, voices, "paper", 2, 0), 2) == 5


def test_a_face_of_another_corpus_does_not_count():
    faces = in_modality("visual", utterances("savee"))
    voices = in_modality("acoustic", utterances("ravdess"))
    assert count_with_trained_face(assign_roles(faces, voices, "paper", 2, 0), 2) == 0


def test_the_table_has_a_row_for_every_face_and_every_voice(project: Path):
    rows, _ = run_split()
    expected = [(modality, row["id"]) for modality in ("visual", "acoustic")
                for row in utterances("sample")]
    assert [(row["modality"], row["id"]) for row in rows] == expected
    assert list(rows[0]) == ["modality", "id", "speaker", "emotion", "fold_0", "fold_1"]


def test_the_table_holds_the_roles_of_the_protocol(project: Path):
    rows, _ = run_split()
    voices = [row for row in rows if row["modality"] == "acoustic"]
    assert {(row["fold_0"], row["fold_1"]) for row in voices} == {("test", "train"),
                                                                  ("train", "test")}


def test_the_description_says_what_was_split(project: Path):
    _, task = run_split()
    assert task == {
        "visual": ["sample"], "acoustic": "sample", "protocol": "paper", "folds": 2,
        "shuffle_labels": False, **SETTINGS, "n_visual": 56, "n_acoustic": 56,
        "n_test_with_trained_face": 56, "skipped": {}, "excluded": {},
        "features_sha256": {"sample": file_sha256(project / "data/features/sample.h5")},
    }


def test_the_same_params_give_the_same_bytes(project: Path):
    first, second = [], []
    for contents in (first, second):
        main()
        contents += [Path(f"data/split.{kind}").read_bytes() for kind in ("csv", "json")]
    assert first == second


def test_another_seed_gives_another_split(project: Path):
    first, _ = run_split()
    write_params(project, seed=1)
    assert run_split()[0] != first


def test_faces_may_come_from_several_corpora_and_voices_from_one(project: Path):
    write_corpus(project, "ravdess", utterances("ravdess", speakers=3))
    write_params(project, corpora=["sample", "ravdess"], visual=["sample", "ravdess"])
    rows, task = run_split()
    found = Counter((row["modality"], row["id"].split("/")[0]) for row in rows)
    assert found == {
        ("visual", "sample"): 56, ("visual", "ravdess"): 42, ("acoustic", "sample"): 56,
    }
    assert list(task["features_sha256"]) == ["ravdess", "sample"]


def test_a_corpus_that_is_not_chosen_changes_nothing(project: Path):
    expected = run_split()
    write_corpus(project, "ravdess", utterances("ravdess"))
    write_params(project, corpora=["sample", "ravdess"])
    assert run_split() == expected


def test_an_utterance_without_features_has_no_row(project: Path):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, faces=rows[1:], voices=rows[2:])
    found = {(row["modality"], row["id"]) for row in run_split()[0]}
    assert ("visual", rows[0]["id"]) not in found and ("visual", rows[1]["id"]) in found
    assert ("acoustic", rows[1]["id"]) not in found and ("acoustic", rows[2]["id"]) in found


def test_what_was_left_out_is_counted_by_corpus_stage_and_code(project: Path):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, failed={"frames": rows[:3], "mels": rows[:2]})
    _, task = run_split()
    assert task["skipped"] == {"sample": {"frames": {"unreadable": 3}, "mels": {"unreadable": 2}}}


def test_labels_are_shuffled_on_request_and_it_is_told(project: Path):
    plain, _ = run_split()
    write_params(project, shuffle_labels=True)
    shuffled, task = run_split()
    assert task["shuffle_labels"] is True
    assert [row["emotion"] for row in plain] != [row["emotion"] for row in shuffled]


def test_a_missing_emotion_is_refused(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=set(EMOTIONS) - {"disgust"}))
    assert "fold 0 has no visual train sample of disgust" in complaint()


def test_a_missing_emotion_is_accepted_on_request(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=set(EMOTIONS) - {"disgust"}))
    write_params(project, allow_missing_classes=True)
    assert len(run_split()[0]) == 2 * 48


@pytest.mark.parametrize("changes", [{}, {"protocol": "speaker", "folds": 4}])
def test_a_fold_without_anything_to_train_or_to_test_is_refused_even_on_request(
    changes: dict[str, Any], project: Path
):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, faces=rows[:1], voices=rows[:1] + rows[14::14])
    write_params(project, allow_missing_classes=True, **({"folds": 5} | changes))
    assert "fold" in complaint()


@pytest.mark.parametrize("absent", ["faces", "voices"])
def test_a_corpus_without_the_modality_asked_of_it_is_named(absent: str, project: Path):
    write_corpus(project, "sample", utterances("sample"), **{absent: []})
    modality = {"faces": "visual", "voices": "acoustic"}[absent]
    assert f"data/features/sample.h5: no {modality} features" in complaint()


def test_features_made_with_other_settings_are_not_mixed(project: Path):
    other = SETTINGS | {"backbone": "resnet18"}
    write_corpus(project, "ravdess", utterances("ravdess"), settings=other)
    write_params(project, corpora=["sample", "ravdess"], visual=["ravdess"])
    assert "resnet18" in complaint()


def test_more_folds_than_speakers_are_refused_in_protocol_speaker(project: Path):
    write_params(project, protocol="speaker", folds=5)
    assert "protocol speaker needs folds <= 4" in complaint()


def test_the_leak_of_protocol_paper_is_printed(project: Path, capsys: pytest.CaptureFixture[str]):
    main()
    assert "the faces of 56 of 56 test utterances are trained on" in capsys.readouterr().out


def test_protocol_speaker_has_no_leak_to_print(project: Path, capsys: pytest.CaptureFixture[str]):
    write_params(project, protocol="speaker")
    main()
    assert "trained on" not in capsys.readouterr().out
