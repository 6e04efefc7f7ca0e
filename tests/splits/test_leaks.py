"""A planted leak stops the run and names both ids; what has no leak is let through."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import best_test_epoch, evaluate, split, train, tsne
from stages.io.files import file_sha256, read_json, read_table, write_json, write_table
from stages.splits import dataset
from stages.splits.dataset import Features, select_rows
from stages.splits.leaks import check_bank, check_leaks, find_duplicates
from stages.splits.protocols import assign_roles, validated_by
from tests.feature_files import (
    Rows,
    in_sessions,
    officially_split,
    utterances,
    work_in,
    write_corpus,
    write_params,
)
from tests.helpers import user_error

PROTOCOLS = ("paper", "speaker", "session", "sentence", "speaker_sentence", "official")
SPLIT = Path("data/split.csv")
DESCRIPTION = Path("models/replicas.json")
STAGES = (train, evaluate, best_test_epoch, tsne)  # that read data/split.csv


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the corpus `sample`, and params that train in no time."""
    work_in(tmp_path, monkeypatch)
    write_params(tmp_path, epochs=1)
    write_corpus(tmp_path, "sample", utterances("sample"))
    return tmp_path


def in_modality(modality: str, rows: Rows) -> Rows:
    return [{"modality": modality, **row} for row in rows]


def roles_of(protocol: str, seed: int = 0, sentences: int = 3) -> tuple[Rows, int]:
    """Faces of two corpora, one a variant of that of the voices, with their roles."""
    rows = in_sessions(officially_split(utterances("sample", sentences=sentences)))
    grey = in_sessions(officially_split(utterances("sample_grey", sentences=sentences)))
    faces, voices = in_modality("visual", rows + grey), in_modality("acoustic", rows)
    divided = assign_roles(faces, voices, protocol, 1 if protocol == "official" else 2, 0.2, seed)
    return divided, sum(name.startswith("fold_") for name in divided[0])


def voice_tested_in(fold: int, rows: Rows) -> dict[str, str]:
    """A test voice of the fold."""
    return select_rows(rows, "acoustic", fold, "test")[0]


def ids_in(message: str) -> list[str]:
    return re.findall(r"sample\w*/S\w+", message)


@given(st.sampled_from(PROTOCOLS), st.integers(0, 2**31))
def test_the_roles_of_every_protocol_have_no_leak(protocol: str, seed: int):
    rows, folds = roles_of(protocol, seed)
    assert check_leaks(rows, protocol, folds, validated_by(rows, folds)) is None


@pytest.mark.parametrize("modality", ["acoustic", "visual"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_recording_of_a_test_voice_in_training_is_refused(protocol: str, modality: str):
    rows, folds = roles_of(protocol)
    for fold in range(folds):
        tested = voice_tested_in(fold, rows)
        twin = tested | {"modality": modality, f"fold_{fold}": "train"}
        twin["id"] = tested["id"].replace("sample/", "sample_grey/")
        if (modality, protocol) == ("visual", "paper"):
            assert check_leaks([*rows, twin], protocol, folds, "utterance") is None
        else:
            message = user_error(check_leaks, [*rows, twin], protocol, folds, "utterance")
            assert ids_in(message) == [twin["id"], tested["id"]]
            assert f"fold {fold}: " in message and "is the same recording as" in message


def stranger(of: dict[str, str], **changes: str) -> dict[str, str]:
    """A training voice or face that has nothing in common with `of` but what `changes` say."""
    other = {"id": "sample/S9_other", "speaker": "sample/S9", "sentence": "s9", "emotion": "fear"}
    other |= {"session": "sample/9", "dialogue": ""}
    return of | other | {key: "train" for key in of if key.startswith("fold_")} | changes


@pytest.mark.parametrize("modality", ["acoustic", "visual"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "key, relation, protocols",
    [
        ("session", "is of the same session as", ("session",)),
        ("speaker", "has the same speaker as", ("speaker", "session", "speaker_sentence")),
        ("sentence", "has the same sentence as", ("sentence", "speaker_sentence")),
    ],
)
def test_what_a_protocol_keeps_apart_is_refused_in_training_and_nothing_else(
    key: str, relation: str, protocols: tuple[str, ...], protocol: str, modality: str
):
    rows, folds = roles_of(protocol)
    tested = voice_tested_in(0, rows)
    learned = stranger(tested, modality=modality, **{key: tested[key]})
    if protocol in protocols:
        message = user_error(check_leaks, [*rows, learned], protocol, folds, "utterance")
        named = ids_in(message)
        assert named[0] == learned["id"] and named[1] in {row["id"] for row in rows}
        assert relation in message
        (culprit,) = [row for row in rows if row["id"] == named[1] and row["modality"] != "visual"]
        assert culprit[key] == learned[key] and culprit["fold_0"] == "test"
    else:
        assert check_leaks([*rows, learned], protocol, folds, "utterance") is None


@pytest.mark.parametrize(
    "protocol, key",
    [("speaker", "speaker"), ("sentence", "sentence"), ("session", "session")],
)
def test_what_chooses_the_epoch_is_kept_apart_from_the_test_as_well(protocol: str, key: str):
    rows, folds = roles_of(protocol)
    tested = voice_tested_in(0, rows)
    chooser = stranger(tested, **{key: tested[key], "fold_0": "validation"})
    message = user_error(check_leaks, [*rows, chooser], protocol, folds, "utterance")
    assert ids_in(message)[0] == chooser["id"] and "fold 0: " in message


@pytest.mark.parametrize("modality", ["acoustic", "visual"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("by", ["speaker", "dialogue", "utterance"])
def test_what_chooses_the_epoch_is_not_in_training(protocol: str, modality: str, by: str):
    """Its recording never, but for the faces of protocol paper; its speaker or dialogue if said."""
    rows, folds = roles_of(protocol)
    chooser = stranger(select_rows(rows, "acoustic", 0, "validation")[0])
    chooser |= {"modality": "acoustic", "fold_0": "validation", "split": "", "dialogue": "sample/D"}
    same = chooser | {"modality": modality, "id": "sample_grey/S9_other", "fold_0": "train"}
    allowed = (modality, protocol) == ("visual", "paper")
    tried = [(same, not allowed)]
    for key in ("speaker", "dialogue"):
        other = stranger(same, id="sample/S9_more", speaker="sample/S8") | {key: chooser[key]}
        tried.append((other, not allowed and by == key))
    for learned, refused in tried:
        planted = [row | {"fold_0": "out"} for row in rows if row["fold_0"] == "validation"]
        planted += [row for row in rows if row["fold_0"] != "validation"] + [chooser, learned]
        if refused:
            message = user_error(check_leaks, planted, protocol, 1, by)
            assert ids_in(message) == [learned["id"], chooser["id"]]
            assert "the validation utterance" in message
        else:
            assert check_leaks(planted, protocol, 1, by) is None


def test_voices_of_corpora_without_sentences_do_not_say_the_same():
    rows, folds = roles_of("sentence")
    learned = stranger(voice_tested_in(0, rows), modality="visual", sentence="")
    assert check_leaks([*rows, learned], "sentence", folds, "utterance") is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bank_of_training_faces_is_let_through(protocol: str):
    rows, folds = roles_of(protocol)
    for fold in range(folds):
        held = {row["id"] for row in rows if row[f"fold_{fold}"] in ("test", "validation")}
        bank = [
            row["id"]
            for row in select_rows(rows, "visual", fold, "train")
            if row["id"].replace("sample_grey/", "sample/") not in held
        ]
        assert bank and check_bank(rows, protocol, fold, bank) is None


@pytest.mark.parametrize("variant", ["sample", "sample_grey"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_face_of_a_test_voice_in_a_bank_is_refused(protocol: str, variant: str):
    rows, folds = roles_of(protocol)
    for fold in range(folds):
        tested = voice_tested_in(fold, rows)["id"]
        face = tested.replace("sample/", f"{variant}/")
        message = user_error(check_bank, rows, protocol, fold, [face])
        assert ids_in(message) == [face, tested] and f"fold {fold}: " in message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_face_of_a_validation_voice_in_a_bank_is_refused(protocol: str):
    rows, _ = roles_of(protocol)
    held = select_rows(rows, "acoustic", 0, "validation")[0]["id"]
    message = user_error(check_bank, rows, protocol, 0, [held])
    assert ids_in(message)[0] == held and "fold 0: " in message


@pytest.mark.parametrize("protocol", ["speaker", "sentence"])
def test_a_face_that_stays_out_is_refused_in_a_bank(protocol: str):
    rows, _ = roles_of(protocol)
    rows = [row for row in rows if row["fold_0"] not in ("test", "validation")]
    face = next(row["id"] for row in select_rows(rows, "visual", 0, "out"))
    message = user_error(check_bank, rows, protocol, 0, [face])
    assert ids_in(message) == [face] and "is not in training" in message


def test_a_face_that_is_in_no_corpus_is_refused_in_a_bank():
    rows, _ = roles_of("paper")
    message = user_error(check_bank, rows, "paper", 0, ["sample/S9_unknown"])
    assert ids_in(message) == ["sample/S9_unknown"] and "is not in training" in message


def test_a_test_speaker_in_a_bank_is_refused():
    rows, _ = roles_of("speaker")
    tested = voice_tested_in(0, rows)
    face = stranger(tested, modality="visual", speaker=tested["speaker"])
    message = user_error(check_bank, [*rows, face], "speaker", 0, [face["id"]])
    assert ids_in(message)[0] == face["id"] and "has the same speaker as" in message
    assert check_bank([*rows, face], "paper", 0, [face["id"]]) is None


def test_twins_are_other_recordings_with_the_same_features():
    found = find_duplicates(
        {"sample/a": b"1", "sample/b": b"2", "sample/c": b"1", "sample/d": b"1"}
    )
    assert found == [("sample/a", "sample/c"), ("sample/a", "sample/d")]


def test_a_variant_with_the_same_features_is_no_twin():
    assert find_duplicates({"sample/a": b"1", "sample_grey/a": b"1"}) == []


names = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(names, st.data())
def test_without_the_twins_all_features_differ(ids: list[str], data: st.DataObject):
    marks = {f"sample/{name}": data.draw(st.sampled_from([b"1", b"2", b"3"])) for name in ids}
    copies = {copy for _, copy in find_duplicates(marks)}
    kept = [marks[name] for name in marks if name not in copies]
    assert sorted(kept) == sorted(set(marks.values()))


# What follows plants leaks in the files of a project and runs its stages.

COPY, ORIGINAL = "sample/S3_AN_s1", "sample/S0_AN_s1"


@pytest.mark.parametrize("part", ["faces", "voices"])
def test_one_recording_under_two_ids_is_refused(part: str, project: Path):
    rows = utterances("sample")
    without = {part: [row for row in rows if row["id"] != COPY]}
    write_corpus(project, "sample", rows, copies={COPY: ORIGINAL}, **without)
    message = user_error(split.main)
    assert set(ids_in(message)) == {COPY, ORIGINAL} and "duplicates: drop" in message
    assert not SPLIT.exists()


def test_one_face_in_two_corpora_is_refused(project: Path):
    write_corpus(project, "ravdess", utterances("ravdess"))  # drawn like sample
    write_params(project, corpora=["sample", "ravdess"], visual=["sample", "ravdess"])
    message = user_error(split.main)
    assert "ravdess/S0_AN_s0 is the same recording as sample/S0_AN_s0" in message


def test_a_variant_of_a_corpus_may_have_the_same_features(project: Path):
    write_corpus(project, "sample_grey", utterances("sample_grey"))
    names = ["sample", "sample_grey"]
    write_params(project, corpora=names, visual=names)
    split.main()
    assert sum(row["modality"] == "visual" for row in read_table(SPLIT)) == 2 * 56


def test_on_request_one_of_the_copies_is_kept_and_the_others_are_listed_and_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    third = "sample/S2_AN_s1"
    rows = utterances("sample")
    write_corpus(project, "sample", rows, copies={COPY: ORIGINAL, third: ORIGINAL})
    write_params(project, epochs=1, duplicates="drop")
    for stage in (split, train, evaluate):
        stage.main()
    dropped = {COPY: ORIGINAL, third: ORIGINAL}
    task = read_json(Path("data/split.json"))
    assert task["duplicates"] == {"visual": dropped, "acoustic": dropped}
    assert (task["n_visual"], task["n_acoustic"]) == (54, 54)
    ids = [row["id"] for row in read_table(SPLIT)]
    assert ids == [row["id"] for row in rows if row["id"] not in dropped] * 2
    assert read_json(Path("metrics/details.json"))["n_duplicates"] == 4
    assert read_json(Path("metrics/test.json"))["n_test"] == 54
    assert "2 acoustic and 2 visual samples left out as copies" in capsys.readouterr().out


@pytest.mark.parametrize("protocol, folds", [("speaker", 4), ("sentence", 2)])
def test_the_face_of_a_voice_that_is_left_out_as_a_copy_does_not_train_where_that_is_tested(
    protocol: str, folds: int, project: Path
):
    rows, kept = utterances("sample"), "sample/S0_AN_s0"
    seen = [row for row in rows if row["id"] != kept]  # no face of the recording that is kept
    write_corpus(project, "sample", rows, faces=seen, copies={COPY: kept})
    write_params(project, protocol=protocol, folds=folds, duplicates="drop")
    split.main()
    rows = read_table(SPLIT)
    for fold in range(folds):
        if kept in {row["id"] for row in select_rows(rows, "acoustic", fold, "test")}:
            assert COPY not in {row["id"] for row in select_rows(rows, "visual", fold, "train")}


@pytest.mark.parametrize("copied, kept", [("test", "S3_AN_s0"), ("dev", "S3_AN_s1")])
def test_of_official_copies_that_of_the_test_part_is_kept_and_else_that_of_the_dev_part(
    copied: str, kept: str, project: Path
):
    rows = officially_split(utterances("sample", sentences=4))
    train_id, held_id = "sample/S0_AN_s2", f"sample/{kept}"
    write_corpus(project, "sample", rows, copies={train_id: held_id})
    write_params(project, protocol="official", folds=1, duplicates="drop")
    split.main()
    found = read_json(Path("data/split.json"))["duplicates"]
    assert found == {"visual": {train_id: held_id}, "acoustic": {train_id: held_id}}
    voices = {row["id"]: row["fold_0"] for row in read_table(SPLIT) if row["modality"] != "visual"}
    assert voices[held_id] == {"test": "test", "dev": "validation"}[copied]
    assert train_id not in voices


def renamed(rows: Rows) -> Rows:
    """The utterances as a folder of one's own calls them."""
    return [
        row
        | {
            "id": row["id"].replace("sample/", "folder/take "),
            "speaker": row["speaker"].replace("sample/S", "folder/person "),
            "sentence": f"text {row['sentence']}",
        }
        for row in rows
    ]


def trained_pictures_of_tested_voices(pictures: dict[str, bytes]) -> int:
    """How many test voices have their very pictures in training, counted by the features alone."""
    found = read_json(Path("data/split.json"))
    rows, visual = read_table(SPLIT), Features(found["features_sha256"]).visual
    count = 0
    for fold in range(found["folds"]):
        trained = {
            visual[row["id"]].tobytes() for row in select_rows(rows, "visual", fold, "train")
        }
        tested = select_rows(rows, "acoustic", fold, "test")
        count += sum(pictures[row["id"]] in trained for row in tested)
    return count


def pictures_of(corpus: str) -> dict[str, bytes]:
    sha256 = file_sha256(Path(f"data/features/visual/{corpus}.h5"))
    visual = Features({"visual": {corpus: sha256}, "acoustic": {}}).visual
    return {name: frames.tobytes() for name, frames in visual.items()}


@pytest.mark.parametrize("visual", [["folder", "sample"], ["sample", "folder"]])
@pytest.mark.parametrize("protocol, expected", [("speaker", 0), ("sentence", 0), ("paper", 56)])
def test_faces_under_other_names_are_those_of_the_voices_in_either_order(
    visual: list[str], protocol: str, expected: int, project: Path
):
    write_corpus(project, "folder", renamed(utterances("sample")))
    write_params(
        project, corpora=visual, visual=visual, protocol=protocol, duplicates="drop", epochs=1
    )
    split.main()
    assert trained_pictures_of_tested_voices(pictures_of("sample")) == expected
    assert read_json(Path("data/split.json"))["n_test_with_trained_face"] == expected
    assert read_json(Path("data/split.json"))["n_acoustic"] == 56


@pytest.mark.parametrize("protocol", ["speaker", "sentence"])
def test_equal_pictures_in_one_corpus_do_not_train_where_either_voice_is_tested(
    protocol: str, project: Path
):
    rows = utterances("sample")
    write_corpus(project, "sample", rows)
    pictures = pictures_of("sample")
    write_corpus(project, "sample", rows, copies={COPY: ORIGINAL}, copied="faces")
    write_params(project, protocol=protocol, duplicates="drop", folds=2)
    split.main()
    found = read_json(Path("data/split.json"))
    assert found["duplicates"] == {"visual": {COPY: ORIGINAL}, "acoustic": {}}
    pictures[COPY] = pictures[ORIGINAL]
    assert trained_pictures_of_tested_voices(pictures) == 0
    assert found["n_test_with_trained_face"] == 0 and found["n_acoustic"] == 56


@pytest.mark.parametrize("stage", STAGES)
def test_a_kept_face_planted_in_training_is_known_as_its_copy_by_every_stage(
    stage: Any, project: Path
):
    corpora = ["folder", "sample"]
    write_corpus(project, "folder", renamed(utterances("sample")))
    write_params(
        project, corpora=corpora, visual=corpora, protocol="sentence", duplicates="drop", epochs=1
    )
    split.main()
    train.main()
    face = select_rows(read_table(SPLIT), "visual", 0, "out")[0]["id"]
    edit_roles({face}, "visual", fold_0="train")
    message = user_error(stage.main)
    assert face in message and "is the same recording as the test utterance sample/" in message


@pytest.mark.parametrize("copied", ["faces", "voices"])
def test_copies_labelled_differently_are_refused_with_both_labels_or_all_left_out(
    copied: str, project: Path, capsys: pytest.CaptureFixture[str]
):
    other = "sample/S3_SU_s1"
    copies = {COPY: ORIGINAL, other: ORIGINAL}
    write_corpus(project, "sample", utterances("sample"), copies=copies, copied=copied)
    message = user_error(split.main)
    assert f"{other} is the same recording as {ORIGINAL}" in message
    assert "labelled surprise and not anger" in message
    assert re.search(r"\(such \w+ pairs: \d, labelled differently: 1\); fix", message)
    write_params(project, duplicates="drop")
    split.main()
    modality, spared = ("visual", "acoustic") if copied == "faces" else ("acoustic", "visual")
    found = read_json(Path("data/split.json"))["contradicting"]
    assert found[modality] == {ORIGINAL: "anger", COPY: "anger", other: "surprise"}
    assert found[spared] == {}
    ids = {row["id"] for row in read_table(SPLIT) if row["modality"] == modality}
    assert ids.isdisjoint({ORIGINAL, COPY, other}) and len(ids) == 53
    number = {"faces": "0 acoustic and 3 visual", "voices": "3 acoustic and 0 visual"}[copied]
    assert f"warning: {number} samples left out, as their copies" in capsys.readouterr().out


def test_overlaps_across_official_splits_are_refused_or_the_test_utterance_is_kept(project: Path):
    rows = officially_split(utterances("sample", sentences=4))
    tested, learned = "sample/S0_AN_s0", "sample/S3_SU_s2"
    for row in rows:
        row["overlaps"] = {tested: learned, learned: tested}.get(row["id"], "")
    write_corpus(project, "sample", rows)
    changes = {"protocol": "official", "folds": 1}
    write_params(project, **changes)
    message = user_error(split.main)
    assert f"{learned} overlaps, in another official split, {tested}" in message
    write_params(project, **changes, duplicates="drop")
    split.main()
    found = read_json(Path("data/split.json"))
    assert found["duplicates"] == {"visual": {learned: tested}, "acoustic": {learned: tested}}
    assert found["contradicting"] == {"visual": {}, "acoustic": {}}
    ids = {row["id"] for row in read_table(SPLIT)}
    assert tested in ids and learned not in ids
    write_params(project, folds=2)  # protocol paper, where nothing is refused
    split.main()
    for row in read_table(SPLIT):
        if row["id"] == tested and row["modality"] == "acoustic":
            fold = [row["fold_0"], row["fold_1"]].index("test")
    roles = [row[f"fold_{fold}"] for row in read_table(SPLIT) if row["id"] == learned]
    assert roles[0] == "train" and roles[1] in ("test", "out")


@pytest.mark.parametrize("part", ["dev", "test"])
def test_official_trains_no_face_of_a_held_out_recording_whose_voice_has_no_features(
    part: str, project: Path
):
    """Nor in a variant of the corpus, which has the pictures alone and no official split."""
    rows = officially_split(utterances("sample", sentences=4))
    grey = [row | {"split": ""} for row in utterances("sample_grey", sentences=4)]
    lost = next(row["id"] for row in rows if row["split"] == part)
    voices = [row for row in rows if row["id"] != lost]
    write_corpus(project, "sample", rows, voices=voices)
    write_corpus(project, "sample_grey", grey, seed=1)
    corpora = ["sample", "sample_grey"]
    write_params(project, corpora=corpora, visual=corpora, protocol="official", folds=1, epochs=1)
    split.main()
    shown = {lost, lost.replace("sample/", "sample_grey/")}
    faces = {row["id"]: row["fold_0"] for row in read_table(SPLIT) if row["modality"] == "visual"}
    assert {faces[name] for name in shown} == {"out"}
    edit_roles(shown, "visual", fold_0="train")
    assert f"is of the official {part} part" in user_error(train.main)


def edit_roles(ids: set[str], modality: str = "acoustic", **roles: str) -> None:
    """Give some samples of data/split.csv other roles, as if `split` had been wrong."""
    rows = read_table(SPLIT)
    for row in rows:
        if row["id"] in ids and row["modality"] == modality:
            row |= roles
    plant(rows)


def plant(rows: Rows) -> None:
    """Write data/split.csv, and let models/replicas.json say that the model was trained on it."""
    write_table(SPLIT, list(rows[0]), rows)
    if DESCRIPTION.exists():
        known = {"split_sha256": file_sha256(SPLIT)}
        write_json(DESCRIPTION, read_json(DESCRIPTION) | known, rounded=False)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("modality", ["acoustic", "visual"])
@pytest.mark.parametrize(
    "protocol, key, relation",
    [
        ("speaker", "speaker", "has the same speaker as"),
        ("sentence", "sentence", "has the same sentence as"),
    ],
)
def test_a_test_speaker_or_sentence_planted_in_training_stops_every_stage(
    stage: Any, modality: str, protocol: str, key: str, relation: str, project: Path
):
    write_params(project, epochs=1, protocol=protocol)
    split.main()
    train.main()
    tested = select_rows(read_table(SPLIT), "acoustic", 1, "test")
    # No other sample of the same recording: only speaker or sentence give it away.
    planted = tested[0]["id"]
    edit_roles({planted}, "acoustic", fold_1="out")
    edit_roles({planted}, modality, fold_1="train")
    message = user_error(stage.main)
    sharing = {row["id"] for row in tested[1:] if row[key] == tested[0][key]}
    assert ids_in(message)[0] == planted and ids_in(message)[1] in sharing
    assert relation in message


@pytest.mark.parametrize("stage", STAGES)
def test_a_recording_planted_in_training_and_test_stops_every_stage(stage: Any, project: Path):
    split.main()
    train.main()
    rows = read_table(SPLIT)
    tested = voice_tested_in(0, rows)
    twin = tested | {"id": tested["id"].replace("sample/", "sample_x/"), "fold_0": "train"}
    plant([*rows, twin])
    message = user_error(stage.main)
    assert ids_in(message) == [twin["id"], tested["id"]] and "same recording" in message


def test_a_split_with_a_leak_trains_no_model(project: Path):
    write_params(project, epochs=1, protocol="speaker")
    split.main()
    edit_roles({voice_tested_in(0, read_table(SPLIT))["id"]}, fold_0="train")
    user_error(train.main)
    assert not Path("models/replicas.safetensors").exists() and not Path("metrics").exists()


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
def test_a_test_id_planted_in_the_bank_stops_the_evaluation(protocol: str, project: Path):
    write_params(project, epochs=1, protocol=protocol)
    split.main()
    train.main()
    evaluate.main()
    Path("metrics/test.json").unlink()
    description = read_json(DESCRIPTION)
    planted = voice_tested_in(1, read_table(SPLIT))["id"]
    description["bank"]["fold_1.seed_0"].append(planted)
    write_json(DESCRIPTION, description)
    message = user_error(evaluate.main)
    assert ids_in(message) == [planted, planted]
    assert "in the inference bank" in message and "fold 1: " in message
    assert not Path("metrics/test.json").exists()


@pytest.mark.parametrize("inference", ["bank", "prototypes"])
def test_a_bank_that_would_hold_a_test_face_stops_the_training(
    inference: str, project: Path, monkeypatch: pytest.MonkeyPatch
):
    write_params(project, epochs=1, inference=inference, selection="last")
    split.main()
    monkeypatch.setattr(dataset, "select_rows", training_only)
    message = user_error(train.main)
    named = ids_in(message)
    assert named[0] == named[1] and "in the inference bank" in message


def training_only(rows: Rows, modality: str, fold: int, role: str) -> Rows:
    """What trains, as `select_rows` tells it; of what is held out nothing."""
    return select_rows(rows, modality, fold, role) if role == "train" else []
