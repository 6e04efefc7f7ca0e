"""The split: roles by protocol, refusals, and what is told about leaks."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.corpora.emotions import EMOTIONS
from stages.io.files import file_sha256, read_json, read_table
from stages.io.skips import skip_row, table_path, write_skips
from stages.runtime.errors import UserError
from stages.split import main, shuffled_labels
from stages.splits.protocols import recording_id
from tests.feature_files import (
    PARAMS,
    SETTINGS,
    Rows,
    officially_split,
    utterances,
    write_corpus,
    write_params,
)
from tests.helpers import user_error


def in_modality(modality: str, rows: Rows) -> Rows:
    return [{"modality": modality, **row} for row in rows]


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
    return user_error(main)


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
    of_face = {recording_id(row["id"]): row["emotion"] for row in shuffled[: len(faces)]}
    of_voice = {recording_id(row["id"]): row["emotion"] for row in shuffled[len(faces) :]}
    assert of_face == of_voice


def test_shuffled_labels_keep_the_number_of_utterances_of_each_emotion():
    rows = in_modality("acoustic", utterances("sample")[:41])
    before, after = (
        Counter(row["emotion"] for row in part) for part in (rows, shuffled_labels(rows, 0))
    )
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


def test_the_table_has_a_row_for_every_face_and_every_voice(project: Path):
    rows, _ = run_split()
    expected = [
        (modality, row["id"]) for modality in ("visual", "acoustic") for row in utterances("sample")
    ]
    assert [(row["modality"], row["id"]) for row in rows] == expected
    columns = ["modality", "id", "session", "speaker", "sentence", "dialogue", "turn", "emotion"]
    columns += ["carried"]
    assert list(rows[0]) == [*columns, "fold_0", "fold_1"] and {row["carried"] for row in rows} == {
        ""
    }


def test_the_table_tells_speaker_sentence_and_emotion_of_the_manifest(project: Path):
    rows, _ = run_split()
    manifest = {row["id"]: row for row in utterances("sample")}
    for row in rows:
        for key in ("speaker", "sentence", "emotion"):
            assert row[key] == manifest[row["id"]][key]


@pytest.mark.parametrize("protocol", ["paper", "speaker", "sentence"])
def test_the_table_holds_the_roles_of_the_protocol(protocol: str, project: Path):
    write_params(project, protocol=protocol)
    rows, task = run_split()
    assert (task["protocol"], task["folds"]) == (protocol, 2)
    for fold in (0, 1):
        counts = Counter(row[f"fold_{fold}"] for row in rows if row["modality"] == "acoustic")
        assert counts == {"test": 28, "train": 21, "validation": 7}


def test_speaker_sentence_has_as_many_folds_as_pairs_of_parts(project: Path):
    write_params(project, protocol="speaker_sentence")
    rows, task = run_split()
    assert task["folds"] == 4 and list(rows[0])[-4:] == [f"fold_{fold}" for fold in range(4)]


def test_official_divides_as_the_manifest_does(project: Path):
    manifest = officially_split(utterances("sample", sentences=4))
    write_corpus(project, "sample", manifest)
    write_params(project, protocol="official", folds=1)
    rows, task = run_split()
    voices = {row["id"]: row["fold_0"] for row in rows if row["modality"] == "acoustic"}
    part = {"test": "test", "dev": "validation", "train": "train"}
    assert voices == {row["id"]: part[row["split"]] for row in manifest}
    assert (task["folds"], task["n_test_with_trained_face"]) == (1, 0)


def test_without_validation_no_voice_validates(project: Path):
    write_params(project, validation=0, selection="last")
    rows, _ = run_split()
    assert {row["fold_0"] for row in rows if row["modality"] == "acoustic"} == {"test", "train"}


def test_the_share_of_the_params_validates(project: Path):
    write_corpus(project, "sample", utterances("sample", speakers=10, sentences=2))
    write_params(project, validation=0.3)
    rows, _ = run_split()
    assert sum(row["fold_1"] == "validation" for row in rows) == 7 * 3  # of 7 x 10 that train


def test_the_description_says_what_was_split(project: Path):
    _, task = run_split()
    assert task == {
        "validated_by": "utterance",
        "visual": ["sample"],
        "acoustic": "sample",
        "protocol": "paper",
        "folds": 2,
        "shuffle_labels": False,
        "encoders": {"visual": SETTINGS, "acoustic": SETTINGS},
        "n_visual": 56,
        "n_acoustic": 56,
        "n_test_with_trained_face": 56,
        "n_test_with_suspected_copy": 0,
        "suspected_copies": [],
        "skipped": {},
        "excluded": {},
        "skipped_unevenly": {},
        "n_test_with_trained_text": 0,
        "text_leak": False,
        "duplicates": {"visual": {}, "acoustic": {}},
        "contradicting": {"visual": {}, "acoustic": {}},
        "features_sha256": {
            modality: {"sample": file_sha256(project / f"data/features/{modality}/sample.h5")}
            for modality in ("visual", "acoustic")
        }
        | {"mels": {"sample": file_sha256(project / "data/mels/sample.h5")}},
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
    write_corpus(project, "ravdess", utterances("ravdess", speakers=3), seed=1)
    write_params(project, corpora=["sample", "ravdess"], visual=["sample", "ravdess"])
    rows, task = run_split()
    found = Counter((row["modality"], row["id"].split("/")[0]) for row in rows)
    assert found == {
        ("visual", "sample"): 56,
        ("visual", "ravdess"): 42,
        ("acoustic", "sample"): 56,
    }
    found = {modality: list(of) for modality, of in task["features_sha256"].items()}
    assert found == {"visual": ["ravdess", "sample"], "acoustic": ["sample"], "mels": ["sample"]}


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


def test_what_was_left_out_is_counted_by_corpus_stage_code_and_emotion(project: Path):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, failed={"frames": rows[:3], "mels": rows[:2]})
    assert [row["emotion"] for row in rows[:3]] == ["anger", "anger", "disgust"]
    _, task = run_split()
    assert task["skipped"] == {
        "sample": {
            "frames": {"unreadable": {"anger": 2, "disgust": 1}},
            "mels": {"unreadable": {"anger": 2}},
        }
    }
    assert task["skipped_unevenly"] == {}


def test_an_emotion_that_a_stage_skips_far_more_often_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [row | {"video": "v.mp4", "audio": "a.wav"} for row in utterances("sample")]
    angry = [row for row in rows if row["emotion"] == "anger"]
    write_corpus(project, "sample", rows, failed={"mels": angry[:6], "frames": rows[:2]})
    _, task = run_split()
    assert task["skipped_unevenly"] == {"sample": {"mels": {"anger": 0.75}}}
    expected = (
        "split: mels@sample: warning: anger is skipped far more often than the other emotions: "
        "6 of 8 against 0 of 48; see data/skipped\n"
    )
    said = capsys.readouterr().out
    assert expected in said and said.count("warning") == 1


def test_only_what_a_stage_works_on_is_compared(project: Path):
    """Faces without a voice are no voices that were not skipped."""
    rows = [row | {"audio": "a.wav" * (row["emotion"] == "anger")} for row in utterances("sample")]
    angry = [row for row in rows if row["emotion"] == "anger"]
    write_corpus(project, "sample", rows, failed={"mels": angry[:6]})
    _, task = run_split()
    assert task["skipped_unevenly"] == {}


def test_labels_are_shuffled_on_request_and_it_is_told(project: Path):
    plain, _ = run_split()
    write_params(project, shuffle_labels=True)
    shuffled, task = run_split()
    assert task["shuffle_labels"] is True
    assert [row["emotion"] for row in plain] != [row["emotion"] for row in shuffled]


def test_utterances_of_other_emotions_are_left_out_and_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    rows = utterances("sample")
    # One is not seen and one is not heard; both are one utterance each.
    write_corpus(project, "sample", rows, faces=rows[1:], voices=rows[:-1])
    write_params(project, classes=["sadness", "happiness", "neutral"])
    found, task = run_split()
    assert {row["emotion"] for row in found} == {"happiness", "neutral", "sadness"}
    assert len(found) == 2 * 24
    assert task["classes"] == ["happiness", "neutral", "sadness"]
    of_split = {"not_in_classes": dict.fromkeys(("anger", "disgust", "fear", "surprise"), 8)}
    assert task["excluded"] == {"sample": {"split": of_split}}
    assert (
        "split: 32 utterances left out, as they are of none of the classes happiness, neutral, "
        "sadness (data/split.json, excluded)\n"
    ) in capsys.readouterr().out


def test_what_a_rule_of_the_corpus_left_out_is_counted_beside(project: Path):
    skips = [skip_row({"id": "sample/c", "emotion": "calm"}, "manifest", "emotion_excluded", "d")]
    write_skips(table_path("sample", "manifest"), skips)
    write_params(project, classes=list(EMOTIONS[1:]))
    _, task = run_split()
    assert task["excluded"] == {
        "sample": {
            "manifest": {"emotion_excluded": {"calm": 1}},
            "split": {"not_in_classes": {"anger": 8}},
        }
    }


def test_all_classes_by_name_in_any_order_are_all(project: Path):
    expected = run_split()
    write_params(project, classes=list(EMOTIONS[::-1]))
    assert run_split() == expected and "classes" not in expected[1]


def test_an_emotion_that_is_no_class_is_not_missed_and_one_that_is_is(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=set(EMOTIONS) - {"disgust"}))
    write_params(project, classes=["anger", "fear"])
    assert len(run_split()[0]) == 2 * 16
    write_params(project, classes=["anger", "disgust"])
    assert "fold 0 has no visual train sample of disgust" in complaint()


def test_without_a_voice_of_any_class_there_is_nothing_to_split(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=["anger"]))
    write_params(project, classes=["fear", "disgust"], allow_missing_classes=True)
    assert complaint() == (
        "params.yaml: classes: no voice is of disgust, fear; choose other classes, or another "
        "acoustic corpus"
    )


def test_a_copy_under_a_label_that_is_no_class_still_contradicts(project: Path):
    """Nobody can say which label is right; copies of no class have no say and no part."""
    rows = utterances("sample")
    anger, disgust, fear, other_fear = (rows[i]["id"] for i in (0, 2, 4, 5))
    assert [rows[i]["emotion"] for i in (0, 2, 4, 5)] == ["anger", "disgust", "fear", "fear"]
    write_corpus(project, "sample", rows, copies={disgust: anger, other_fear: fear})
    write_params(project, classes=["anger", "sadness"])
    assert f"{disgust} is the same recording as {anger}, but is labelled" in complaint()
    write_params(project, classes=["anger", "sadness"], duplicates="drop")
    found, task = run_split()
    both = {anger: "anger", disgust: "disgust"}
    assert task["contradicting"] == {"visual": both, "acoustic": both}
    assert task["duplicates"]["acoustic"] == {disgust: anger}
    assert {row["emotion"] for row in found} == {"anger", "sadness"} and len(found) == 2 * 15
    assert task["excluded"]["sample"]["split"]["not_in_classes"]["disgust"] == 7
    write_params(project, classes=["neutral", "sadness"])
    assert len(run_split()[0]) == 2 * 16


def test_only_classes_are_compared_for_what_is_skipped(project: Path):
    rows = [row | {"audio": "a.wav"} for row in utterances("sample")]
    angry = [row for row in rows if row["emotion"] == "anger"]
    write_corpus(project, "sample", rows, failed={"mels": angry[:6]})
    write_params(project, classes=["fear", "sadness"])
    _, task = run_split()
    assert task["skipped_unevenly"] == {}
    assert task["skipped"] == {"sample": {"mels": {"unreadable": {"anger": 6}}}}
    write_params(project, classes=["anger", "fear"])
    _, task = run_split()
    assert task["skipped_unevenly"] == {"sample": {"mels": {"anger": 0.75}}}


def test_a_missing_emotion_is_refused(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=set(EMOTIONS) - {"disgust"}))
    assert "fold 0 has no visual train sample of disgust" in complaint()


def test_a_missing_emotion_is_accepted_on_request(project: Path):
    write_corpus(project, "sample", utterances("sample", emotions=set(EMOTIONS) - {"disgust"}))
    write_params(project, allow_missing_classes=True)
    assert len(run_split()[0]) == 2 * 48


def test_a_fold_without_anything_to_test_is_refused_even_on_request(project: Path):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, voices=rows[::14])  # one of each speaker
    write_params(project, allow_missing_classes=True, folds=5)
    assert "folds: 5 is more than the 4 utterances of any emotion" in complaint()


def test_a_fold_without_any_face_to_train_is_refused_even_on_request(project: Path):
    rows = utterances("sample")
    write_corpus(project, "sample", rows, faces=rows[:1])
    write_params(project, allow_missing_classes=True, protocol="speaker", folds=4)
    assert "has no visual train sample of anger" in complaint()


@pytest.mark.parametrize("absent", ["faces", "voices"])
def test_a_corpus_without_the_modality_asked_of_it_is_named(absent: str, project: Path):
    write_corpus(project, "sample", utterances("sample"), **{absent: []})
    modality = {"faces": "visual", "voices": "acoustic"}[absent]
    assert f"data/features/{modality}/sample.h5: no {modality} features" in complaint()


def test_a_manifest_that_lacks_a_column_is_named(project: Path):
    table = project / "data/manifest/sample.csv"
    table.write_text(table.read_text().replace("speaker", "Speaker", 1))
    assert complaint() == (
        "data/manifest/sample.csv: cannot be read: has no column speaker; make it again by dvc "
        "repro"
    )


def test_features_made_with_other_settings_are_not_mixed(project: Path):
    other = SETTINGS | {"name": "resnet18"}
    write_corpus(project, "ravdess", utterances("ravdess"), settings=other, seed=1)
    write_params(project, corpora=["sample", "ravdess"], visual=["sample", "ravdess"])
    assert "resnet18" in complaint()


def test_the_encoders_of_two_modalities_may_differ(project: Path):
    other = SETTINGS | {"name": "resnet18"}
    write_corpus(project, "ravdess", utterances("ravdess"), settings=other)
    write_params(project, corpora=["sample", "ravdess"], visual=["ravdess"])
    run_split()
    found = read_json(project / "data/split.json")["encoders"]
    assert found == {"visual": other, "acoustic": SETTINGS}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"protocol": "speaker", "folds": 5}, "folds: 5 is more than the 4 speakers"),
        ({"protocol": "sentence", "folds": 3}, "folds: 3 is more than the 2 sentences"),
        ({"protocol": "speaker_sentence", "folds": 3}, "folds: 3 is more than the 2 sentences"),
        ({"folds": 1}, "folds: protocol paper needs at least 2"),
        ({"protocol": "official"}, "folds: protocol official has one fold, not 2"),
        ({"protocol": "official", "folds": 1}, "protocol: sample/S0_AN_s0 has no official split"),
    ],
)
def test_a_protocol_that_cannot_be_carried_out_is_refused_before_anything_is_written(
    changes: dict[str, Any], expected: str, project: Path
):
    write_params(project, **changes)
    assert f"params.yaml: {expected}" in complaint()
    assert not list(project.glob("data/split*"))


def test_the_leak_of_protocol_paper_is_printed(project: Path, capsys: pytest.CaptureFixture[str]):
    main()
    assert "the faces of 56 of 56 test utterances are trained on" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["speaker", "sentence", "speaker_sentence"])
def test_the_other_protocols_have_no_leak_to_print(
    protocol: str, project: Path, capsys: pytest.CaptureFixture[str]
):
    write_params(project, protocol=protocol)
    main()
    assert "trained on" not in capsys.readouterr().out


def test_the_committed_params_divide_the_sample(project: Path):
    write_corpus(project, "sample", utterances("sample", sentences=6))
    keys = ("protocol", "folds", "validation", "duplicates", "seeds")
    write_params(project, **{key: PARAMS[key] for key in keys})
    rows, task = run_split()
    assert (task["protocol"], task["folds"], len(rows)) == ("paper", 5, 2 * 168)


SIX = [emotion for emotion in EMOTIONS if emotion != "surprise"]
FIVE = [emotion for emotion in EMOTIONS if emotion != "disgust"]


def across(root: Path, **changes: Any) -> tuple[Rows, dict[str, Any]]:
    """The split where the sample trains, without disgust, and savee is tested, without surprise."""
    write_corpus(root, "sample", utterances("sample", 6, emotions=FIVE), texts=utterances("sample"))
    tested = utterances("savee", 3, emotions=SIX)
    write_corpus(root, "savee", tested, seed=1, texts=utterances("savee"))
    write_params(
        root, corpora=["sample", "savee"], test="savee", folds=5, allow_text_leak=True, **changes
    )
    return run_split()


def test_another_corpus_is_tested_on_the_emotions_that_both_have(project: Path):
    rows, task = across(project)
    both_have = [emotion for emotion in FIVE if emotion in SIX]
    tested = [row for row in rows if row["fold_0"] == "test"]
    assert [row["id"] for row in tested] == [
        row["id"] for row in utterances("savee", 3, emotions=both_have)
    ]
    assert (task["acoustic"], task["test"], task["folds"]) == ("sample", "savee", 1)
    assert task["classes"] == both_have
    assert task["excluded"] == {
        "sample": {"split": {"not_in_classes": {"surprise": 6 * 2}}},
        "savee": {"split": {"not_in_classes": {"disgust": 3 * 2}}},
    }
    assert list(task["features_sha256"]["acoustic"]) == ["sample", "savee"]
    assert list(task["features_sha256"]["mels"]) == ["sample", "savee"]
    assert list(task["features_sha256"]["visual"]) == ["sample"]


def test_words_of_both_corpora_count_across_them(project: Path):
    for root, expected in ((project, 0), (project, 3 * 5 * 2)):
        texts = [
            [
                row | {"text": f"{row['sentence']}{'' if expected else corpus}"}
                for row in utterances(corpus, 6)
            ]
            for corpus in ("sample", "savee")
        ]
        write_corpus(root, "sample", utterances("sample", 6, emotions=FIVE), texts=texts[0])
        write_corpus(root, "savee", utterances("savee", 3, emotions=SIX), seed=1, texts=texts[1])
        write_params(root, corpora=["sample", "savee"], test="savee", allow_text_leak=True)
        task = run_split()[1]
        assert task["n_test_with_trained_text"] == expected and task["text_leak"] is True
        assert list(task["features_sha256"]["linguistic"]) == ["sample", "savee"]


def test_of_copies_across_corpora_the_test_utterances_are_kept(project: Path):
    learned, tested = utterances("sample", 6), utterances("savee", 3)
    for corpus, rows in (("sample", learned), ("savee", tested)):
        write_corpus(project, corpus, rows, faces=[])  # of three speakers the same voices
    own = {"corpora": ["sample", "savee"], "test": "savee", "visual": [], "acoustic_only": True}
    write_params(project, **own)
    assert "is the same recording as savee/" in complaint()
    write_params(project, **own, duplicates="drop")
    rows, task = run_split()
    pairs = {row["id"]: other["id"] for row, other in zip(learned, tested)}
    assert task["duplicates"]["acoustic"] == pairs
    names = {row["id"] for row in rows if row["fold_0"] == "test"}
    assert names == {row["id"] for row in tested}
    assert {row["speaker"] for row in rows if row["fold_0"] == "train"} == {
        f"sample/S{number}" for number in (3, 4, 5)
    }


def test_other_encoders_of_the_corpus_tested_are_refused(project: Path):
    across(project)
    other = SETTINGS | {"name": "resnet18"}
    write_corpus(project, "savee", utterances("savee", 3, emotions=SIX), settings=other)
    assert "made with" in complaint() and "resnet18" in complaint()


def test_the_face_of_a_test_utterance_never_trains_across_corpora(project: Path):
    rows, task = across(project, visual=["sample", "savee"])
    faces = {row["id"]: row["fold_0"] for row in rows if row["modality"] == "visual"}
    assert {role for name, role in faces.items() if name.startswith("savee")} == {"out"}
    assert task["n_test_with_trained_face"] == 0


def test_a_share_of_the_training_speakers_trains_and_the_same_is_tested(project: Path):
    write_corpus(project, "sample", utterances("sample", 8))
    write_params(project, protocol="speaker")
    whole, task = run_split()
    assert not {"train_share", "test"} & task.keys()
    write_params(project, protocol="speaker", train_share=0.25)
    rows, task = run_split()
    assert task["train_share"] == 0.25
    for fold in ("fold_0", "fold_1"):
        held = [
            [row["id"] for row in of if row[fold] in ("test", "validation")] for of in (whole, rows)
        ]
        assert held[0] == held[1]
        speakers = [{row["speaker"] for row in of if row[fold] == "train"} for of in (whole, rows)]
        assert len(speakers[1]) == 1 and speakers[1] < speakers[0]


def test_a_share_in_which_no_speaker_has_an_emotion_is_refused_as_where_it_is_missing(
    project: Path,
):
    manifest = [
        row
        for row in utterances("sample", 3, 9)
        if row["emotion"] != "fear" or row["speaker"] != "sample/S1"
    ]
    write_corpus(project, "sample", manifest)
    share = {"train_share": 0.1, "validation": 0, "selection": "last"}
    said = []
    for seed in range(9):
        write_params(project, **share, seed=seed)
        try:
            run_split()
        except UserError as error:
            said.append(str(error))
            write_params(project, **share, seed=seed, allow_missing_classes=True)
            run_split()
    assert said and len(said) < 9  # S1 is drawn by some seeds
    assert all("visual train sample of fear; choose" in message for message in said)
