"""Before a clip is decoded it is known whether split and train can make of it what is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stages import split
from stages.corpora.emotions import EMOTIONS
from stages.fdan.replicas import make_bank, prepare_fold
from stages.fdan.training import Settings
from stages.preflight.division import Division, division_problems
from stages.runtime.errors import UserError
from stages.splits.dataset import Features, read_split
from stages.systems.contract import Task
from tests.feature_files import PARAMS, Rows, utterances, write_corpus, write_params

ALL = [row | {"video": "v.mp4", "audio": "a.wav"} for row in utterances("sample")]
TESTED = [row | {"audio": "a.wav"} for row in utterances("savee", 3, 1, EMOTIONS[1:])]
SMALL = {"folds": 2, "validation": 0.2}


def division(**changes: Any) -> Division:
    values = {key: PARAMS[key] for key in Division._fields} | SMALL | changes
    return Division(**values)


def problems(rows: Rows, **changes: Any) -> list[str]:
    return division_problems(division(**changes), {"sample": rows, "savee": TESTED})


def without(column: str, rows: Rows = ALL) -> Rows:
    return [row | {column: ""} for row in rows]


def test_what_can_be_divided_has_no_problems() -> None:
    assert problems(ALL) == problems(without("video"), acoustic_only=True) == []
    assert problems(without("video"), acoustic_only=True, visual=[]) == []


def test_a_corpus_without_the_modality_asked_of_it_is_named_with_the_remedy() -> None:
    no_video = (
        "params.yaml: visual: no utterance of sample has video; drop it there, or set "
        "acoustic_only: true to train on voices alone"
    )
    no_audio = (
        "params.yaml: acoustic: no utterance of sample has audio, which is what is tested; choose "
        "a corpus with speech"
    )
    assert problems(without("video")) == [no_video]
    assert problems(without("audio")) == [no_audio]
    assert problems(without("audio"), acoustic_only=True, visual=[]) == [no_audio]
    assert problems(without("audio", without("video"))) == [no_video, no_audio]
    listed = {"sample": ALL, "savee": without("video", utterances("savee"))}
    assert division_problems(division(visual=["sample", "savee"]), listed) == [
        no_video.replace("sample", "savee")
    ]


def test_all_that_is_wrong_with_the_emotions_and_the_folds_is_told_at_once() -> None:
    rows = [row for row in ALL if row["emotion"] not in ("fear", "surprise")]
    absent = (
        "of fear, surprise; choose other corpora or classes, or, where others remain, set "
        "allow_missing_classes: true"
    )
    assert problems(rows, protocol="speaker", folds=9) == [
        f"params.yaml: visual: sample has no faces {absent}",
        f"params.yaml: acoustic: sample has no voices {absent}",
        "params.yaml: folds: 9 is more than the 4 speakers of the voices; this protocol needs "
        "folds <= 4",
    ]
    assert problems(rows, allow_missing_classes=True) == []
    assert problems(rows, visual=[], acoustic_only=True) == [
        f"params.yaml: acoustic: sample has no voices {absent}"
    ]


def test_the_classes_alone_are_asked_for() -> None:
    rows = [row for row in ALL if row["emotion"] not in ("fear", "surprise")]
    assert problems(rows, classes=["sadness", "anger"]) == []
    assert problems(rows, classes=["fear", "anger"], visual=[], acoustic_only=True) == [
        "params.yaml: acoustic: sample has no voices of fear; choose other corpora or classes, or, "
        "where others remain, set allow_missing_classes: true"
    ]
    [found] = problems(ALL, classes=["sadness", "anger"], folds=9)
    assert "folds: 9 is more than the 8 utterances of any emotion" in found


def test_where_no_class_is_there_it_is_told_whatever_may_be_missing() -> None:
    rows = [row for row in ALL if row["emotion"] == "anger"]
    faces, voices = problems(rows, classes=["fear", "surprise"], allow_missing_classes=True)
    assert "sample has no faces of fear, surprise; choose other corpora or classes" in faces
    assert "sample has no voices of fear, surprise; choose other corpora or classes" in voices


def test_a_name_in_two_spellings_does_not_hide_the_folds() -> None:
    rows = [row | {"speaker": "sample/s0"} if i == 0 else row for i, row in enumerate(ALL)]
    found = problems(rows, folds=99)
    assert len(found) == 2 and "sample/s0" in found[0] and "folds: 99" in found[1]


def test_an_epoch_or_a_bank_that_a_fold_cannot_have_is_told() -> None:
    rows = [row | {"split": "test" if row["sentence"] == "s0" else "train"} for row in ALL]
    official = {"protocol": "official", "folds": 1}
    assert "no validation voice to choose the epoch by in fold 0;" in problems(rows, **official)[0]
    assert problems(rows, **official, selection="last") == []
    assert problems(rows, **official, system="linear_probe") == []  # which needs none
    # Nor can an epoch be chosen by an emotion that nobody trains on.
    parts = {"fear": "dev", "anger": "test"}
    alien = [row | {"split": parts.get(row["emotion"], "train")} for row in ALL]
    official |= {"allow_missing_classes": True, "inference": "none"}
    assert "no validation voice to choose the epoch by in fold 0;" in problems(alien, **official)[0]
    # But by one of which there are faces alone.
    faces = [row | ({"split": "train"} if row["sentence"] == "s1" else {}) for row in alien]
    seen = [row | ({"audio": ""} if row["sentence"] == "s1" else {}) for row in faces]
    assert problems(seen, **official) == []
    assert problems(seen, **official, acoustic_only=True) != []
    one_face = ALL[:1] + without("video", ALL[1:])
    [found] = problems(one_face, allow_missing_classes=True)
    assert "the utterance of every face is tested or validated in fold 1;" in found
    assert problems(one_face, allow_missing_classes=True, inference="none") == []
    assert problems(one_face, allow_missing_classes=True, system="knn") == []


def test_another_corpus_is_tested_on_what_both_have() -> None:
    def across(tested: Rows, rows: Rows = ALL, **changes: Any) -> list[str]:
        asked = division(test="savee", folds=99, **changes)
        return division_problems(asked, {"sample": rows, "savee": tested})

    assert across(TESTED) == []  # folds is not read
    assert across(TESTED, without("video"), acoustic_only=True) == []
    assert across(without("audio", TESTED)) == [
        "params.yaml: acoustic: no utterance of savee has audio, which is what is tested; choose "
        "a corpus with speech"
    ]
    one = [row for row in TESTED if row["emotion"] == "fear"]
    assert across(one, allow_missing_classes=True) == [
        f"params.yaml: test: of the classes {', '.join(EMOTIONS)} voices of savee and of acoustic "
        "have fear alone in common; choose other corpora or classes"
    ]
    assert "have none in common" in across(one, classes=["anger", "sadness"])[0]
    unfaced = [row | ({"video": ""} if row["emotion"] == "fear" else {}) for row in ALL]
    assert any("has no faces of fear" in line for line in across(TESTED, unfaced))
    assert across(TESTED, unfaced, classes=["anger", "disgust", "sadness"]) == []


def test_a_share_that_leaves_an_emotion_without_a_speaker_is_told() -> None:
    rows = [
        row | {"video": "v.mp4", "audio": "a.wav"}
        for row in utterances("sample", sentences=20)
        if row["emotion"] != "fear" or row["speaker"] != "sample/S1"
    ]
    assert problems(rows, train_share=0.5) == []
    found = [problems(rows, train_share=0.1, seed=seed) for seed in range(9)]
    assert [] in found and any(found)  # S1 is drawn by some seeds
    assert all("sample of fear; choose" in line for lines in found for line in lines)
    allowed = {"allow_missing_classes": True, "train_share": 0.1}
    assert not any(problems(rows, **allowed, seed=seed) for seed in range(9))


def verdict(rows: Rows, changes: dict[str, Any]) -> list[str]:
    """Why the stages split and train stop."""
    write_params(Path(), corpora=["sample", "savee"], **SMALL | changes)
    faces, voices = ([row for row in rows if row[column]] for column in ("video", "audio"))
    write_corpus(Path(), "sample", rows, faces=faces, voices=voices)
    write_corpus(Path(), "savee", TESTED, faces=[], voices=TESTED, seed=1)
    names = ("alpha", "learning_rate", "momentum", "weight_decay", "batch_size", "epochs", "lmmd")
    try:
        split.main()
        params = {**PARAMS, **changes}
        flags = {key: params[key] for key in ("acoustic_only", "cross_attention")}
        settings = Settings(
            classes=7,
            **{key: PARAMS[key] for key in names},
            network=PARAMS["network"] | flags,
            select={"validation": "uar", "last": "last"}[params["selection"]],
            inference=params["inference"],
        )
        said, roles = read_split()
        features = Features(said["features_sha256"])
        task = Task(features, roles, said["protocol"], settings)
        for fold in range(said["folds"]):
            make_bank(task, fold, 0, prepare_fold(task, fold))
    except UserError as error:
        return [str(error)]
    return []


@st.composite
def corpora(draw: st.DrawFn) -> Rows:
    """A corpus of which this and that is absent."""
    emotions = draw(st.sampled_from([EMOTIONS, EMOTIONS, EMOTIONS[:6]]))
    rows = utterances("sample", draw(st.integers(1, 4)), draw(st.integers(1, 3)), emotions)
    often = [True] * draw(st.sampled_from([3, 30])) + [False]
    official = draw(st.booleans())
    parts = st.sampled_from(["train", "train", "dev", "test"])
    kept = [
        row
        | {
            "video": "v" * draw(st.sampled_from(often)),
            "audio": "a" * draw(st.sampled_from(often)),
            "split": draw(parts) if official else "",
        }
        for row in rows
    ]
    blank = draw(st.sampled_from(["", "", "", "video", "audio", "sentence"]))
    return without(blank, kept) if blank else kept


CHOICES = st.fixed_dictionaries(
    {
        "acoustic_only": st.booleans(),
        "protocol": st.sampled_from(["paper", "speaker", "sentence", "speaker_sentence"]),
        "folds": st.integers(1, 4),
        "classes": st.sampled_from(["all", list(EMOTIONS[:6]), ["anger", "surprise"]]),
        "validation": st.sampled_from([0.1, 0.5]),
        "allow_missing_classes": st.booleans(),
        "selection": st.sampled_from(["validation", "last"]),
        "inference": st.sampled_from(["bank", "none"]),
        "cross_attention": st.booleans(),
        "train_share": st.sampled_from([1.0, 1.0, 0.4]),
        "test": st.sampled_from(["", "", "savee"]),
    }
)
OFFICIAL = CHOICES.map(lambda choice: choice | {"protocol": "official", "folds": 1})


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize("examples", [60, pytest.param(600, marks=pytest.mark.long)])
def test_the_verdict_is_the_one_of_the_stages(examples: int) -> None:
    seen = []

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @example(ALL, {})
    @given(corpora(), CHOICES | OFFICIAL)
    def agree(rows: Rows, changes: dict[str, Any]) -> None:
        found, said = problems(rows, **changes), verdict(rows, changes)
        assert bool(found) == bool(said), (found, said)
        seen.append(bool(said))

    agree()
    assert examples / 10 < sum(seen) < len(seen) - examples / 10  # some of both
