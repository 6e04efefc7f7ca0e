"""The best epoch on the test voices: labelled as optimistic, and nothing else depends on it."""

from pathlib import Path
from typing import Any

import pytest

from stages import best_test_epoch, evaluate, train
from stages.io.files import read_json, read_table
from tests.feature_files import Rows, officially_split, prepare, utterances, work_in, write_params

EPOCHS = 8
# Noise in which not every utterance is recognised, and steps so large that the last epoch is not
# the best.
ROUGH: dict[str, Any] = {"learning_rate": 0.2, "epochs": EPOCHS}
NOISE = 1.5
# Two emotions are four times as frequent as the others, so that the best WAR is not the best UAR.
FREQUENT = ("anger", "fear")
UNBALANCED = [
    row
    for row in utterances("sample", speakers=8, sentences=2)
    if row["emotion"] in FREQUENT or row["speaker"] in ("sample/S0", "sample/S1")
]
RESULT = Path("metrics/best_test_epoch.json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)


def make(**changes: Any) -> dict[str, Any]:
    """Features that are hard to tell apart, a trained model, and what this stage makes of them."""
    prepare(**ROUGH | {"noise": NOISE} | changes)
    train.main()
    best_test_epoch.main()
    return read_json(RESULT)


def hits_of_epoch(number: int, **changes: Any) -> dict[str, int]:
    """How many test voices each fold recognises after `number` epochs, by fold, as evaluated."""
    write_params(Path(), **ROUGH | {"epochs": number, "selection": "last"} | changes)
    train.main()
    evaluate.main()
    hits: dict[str, int] = {}
    for row in read_table(Path("metrics/predictions.csv")):
        name = f"fold_{row['fold']}"
        hits[name] = hits.get(name, 0) + (row["predicted"] == row["actual"])
    return hits


def test_it_says_that_it_is_optimistic_and_no_result(capsys: pytest.CaptureFixture[str]):
    found = make()
    assert found["label"].startswith("optimistic: ") and "not a result" in found["label"]
    assert "optimistic, not a result" in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows, changes",
    [
        (None, {}),
        (None, {"protocol": "speaker", "seed": 1}),
        (None, {"acoustic_only": True}),
        (UNBALANCED, {}),
    ],
)
def test_of_every_fold_the_epoch_is_kept_that_recognises_most_test_voices(
    rows: Rows | None, changes: dict[str, Any]
):
    found = make(rows=rows, **changes)
    of_epoch = {number: hits_of_epoch(number, **changes) for number in range(1, EPOCHS + 1)}
    folds, n = set(of_epoch[1]), len(rows or utterances("sample"))
    assert set(found["epochs"]) == folds == {"fold_0", "fold_1"}
    best = {fold: max(hits[fold] for hits in of_epoch.values()) for fold in folds}
    for fold, epoch in found["epochs"].items():
        assert of_epoch[epoch][fold] == best[fold]
    assert found["n_correct"] == sum(best.values()) and found["n_test"] == n
    assert found["war"] == pytest.approx(sum(best.values()) / n, abs=1e-6)
    last = sum(of_epoch[EPOCHS].values()) / n
    assert found["war_last_epoch"] == pytest.approx(last, abs=1e-6)
    assert max(sum(hits.values()) for hits in of_epoch.values()) <= found["n_correct"]
    assert found["war_last_epoch"] < found["war"]  # there was something to gain by choosing


@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
def test_choosing_on_the_test_voices_never_looks_worse_than_the_last_epoch(noise: float):
    found = make(noise=noise, epochs=10)
    assert found["war_last_epoch"] <= found["war"]
    assert all(1 <= epoch <= 10 for epoch in found["epochs"].values())


def test_the_official_split_has_one_fold_to_choose_in():
    found = make(
        rows=officially_split(utterances("sample", sentences=3)), protocol="official", folds=1
    )
    assert set(found["epochs"]) == {"fold_0"} and found["n_test"] == 28
    assert found["protocol"] == "official"


def test_it_looks_at_the_first_seed_alone():
    assert make(seeds=2, seed=4) == make(seeds=1, seed=4)


def test_the_last_epoch_that_is_chosen_in_training_changes_nothing_here():
    assert make(selection="last") == make(selection="validation")


def outputs() -> dict[str, bytes]:
    paths = [*Path("models").iterdir(), *Path("data").glob("split*"), *Path("metrics").rglob("*.*")]
    return {str(path): path.read_bytes() for path in paths if path != RESULT}


def test_it_touches_no_other_file_and_no_other_file_depends_on_it():
    prepare(noise=NOISE, **ROUGH)
    train.main()
    evaluate.main()
    before = outputs()
    best_test_epoch.main()
    assert outputs() == before and "metrics/test.json" in before
    RESULT.write_text('{"war": 1.0}')
    evaluate.main()
    assert outputs() == before


def test_the_same_input_gives_the_same_bytes():
    make()
    first = RESULT.read_bytes()
    best_test_epoch.main()
    assert RESULT.read_bytes() == first


def test_where_it_is_not_asked_for_it_makes_nothing_and_says_nothing(
    capsys: pytest.CaptureFixture[str],
):
    prepare(best_test_epoch=False)  # and nothing was trained
    RESULT.parent.mkdir()
    RESULT.write_text('{"war": 1.0}')  # of an earlier run
    capsys.readouterr()
    best_test_epoch.main()
    assert read_json(RESULT) == {} and capsys.readouterr().out == ""
