"""The systems beside FDAN: what they learn from, what they learn, and what they predict."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from stages import best_test_epoch, card, evaluate, model, split, train, tsne
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_json, read_table, write_json
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import VISUAL, Recogniser
from stages.runtime.params import Params
from stages.runtime.paths import BUNDLE, DESCRIPTION, METRICS, MODEL, MODEL_CARD
from stages.splits.dataset import Features, labels, read_split, select_rows
from stages.splits.protocols import TEST, TRAIN, VALIDATION
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import Samples, Task
from stages.systems.named import SYSTEMS
from stages.systems.pooled import Training
from stages.systems.selection import inner_parts
from tests.feature_files import prepare, utterances, work_in, write_params
from tests.helpers import user_error

FLOOR = [name for name, system in SYSTEMS.items() if not system.by_epochs]
LEARNING = ["linear_probe", "knn", "inca"]
C = [0.001, 0.01, 0.1, 1.0]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def trained(system: str, rows: Any = None, noise: float = 0.2, **changes: Any) -> dict[str, Any]:
    """What models/replicas.json says after a training on a small corpus."""
    prepare(rows or utterances("sample", sentences=3), noise, system=system, **changes)
    train.main()
    return read_description()


def of_test(system: str, **changes: Any) -> dict[str, Any]:
    """metrics/details.json."""
    trained(system, **changes)
    evaluate.main()
    return read_json(METRICS / "details.json")


def part(fold: int, role: str) -> tuple[np.ndarray, np.ndarray]:
    """Raw features float64 and classes of the voices that have a role in a fold."""
    found, rows = read_split()
    chosen = select_rows(rows, "acoustic", fold, role)
    x, y, _ = Features(found["features_sha256"]).acoustic_samples(chosen)
    return x.astype(np.float64), y


def task_of(settings: Mapping[str, Any]) -> Task:
    found, rows = read_split()
    return Task(Features(found["features_sha256"]), rows, found["protocol"], settings)


def settings_of(system: str) -> dict[str, Any]:
    return {
        "linear_probe": {"c": C, "modalities": ["acoustic"]},
        "knn": {"k": 5, "metric": "cosine"},
        "inca": {"k_min": 2, "k_max": 12, "k_step": 2, "ridge": 0.01, "degree": 3, "c": 1.0},
    }.get(system, {})


def test_params_name_the_systems_that_there_are():
    assert list(SYSTEMS) == list(get_args(Params.model_fields["system"].annotation))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("system", LEARNING)
def test_it_learns_what_can_be_learned(system: str, metric: str):
    found = of_test(system, knn={"k": 3, "metric": metric})
    assert found["uar"] == 1.0 and found["system"] == system


def test_majority_recognises_the_most_frequent_emotion_and_no_other():
    frequent = [row for row in utterances("sample", speakers=4) if row["emotion"] == "fear"]
    rows = utterances("sample", speakers=2) + [
        row | {"id": f"{row['id']}x", "sentence": "s2"} for row in frequent
    ]
    found = of_test("majority", rows=sorted(rows, key=lambda row: row["id"]))
    said = {row["predicted"] for row in read_table(METRICS / "predictions.csv")}
    assert said == {"Fea"} or len(said) == 1
    assert found["classes"]["fear"]["recall"] == 1.0
    assert found["uar"] == pytest.approx(1 / 7, abs=1e-6)
    for fold, _, classifier in read_replicas(read_description()):
        shares = np.bincount(part(fold, TRAIN)[1], minlength=7) / len(part(fold, TRAIN)[1])
        x = torch.from_numpy(part(fold, TEST)[0]).float()
        np.testing.assert_allclose(classifier(x), np.tile(shares, (len(x), 1)), atol=1e-7)


@pytest.mark.parametrize("system", FLOOR)
def test_shuffled_labels_give_chance(system: str):
    rows = utterances("sample", speakers=6, sentences=5)
    found = of_test(system, rows=rows, shuffle_labels=True)
    assert found["n_test"] == 210 and found["uar"] < 0.25


@pytest.mark.parametrize("system", FLOOR)
def test_a_prediction_does_not_depend_on_what_else_is_predicted(system: str):
    trained(system, noise=2.0)
    x = torch.from_numpy(part(0, TEST)[0]).float()
    for _, _, classifier in read_replicas(read_description()):
        together = classifier(x)
        assert together.dtype == torch.float32
        torch.testing.assert_close(together.sum(1), torch.ones(len(x)))
        for i, one in enumerate(x):
            assert torch.equal(classifier(one[None])[0], together[i])
        assert torch.equal(classifier(x.flip(0)).flip(0), together)
        assert classifier(x[:0]).shape == (0, 7)


@pytest.mark.parametrize("system", FLOOR)
def test_the_same_input_gives_the_same_bytes_whatever_the_seed(system: str):
    first = trained(system, noise=2.0, seeds=2)
    content = MODEL.read_bytes(), DESCRIPTION.read_bytes()
    torch.manual_seed(7)
    np.random.seed(7)
    train.main()
    assert (MODEL.read_bytes(), DESCRIPTION.read_bytes()) == content
    assert first["chosen"]["fold_0.seed_0"] == first["chosen"]["fold_0.seed_1"]
    one, other = (of.state_dict() for *_, of in itertools.islice(read_replicas(first), 2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_linear_probe_is_logistic_regression_by_definition(balanced: bool):
    rows = [row for i, row in enumerate(utterances("sample", speakers=5)) if i % 3 or i % 2]
    balance = "weights" if balanced else "none"
    description = trained("linear_probe", rows, 1.5, linear_probe={"c": C}, class_balance=balance)
    for fold, seed, classifier in read_replicas(description):
        scaler = StandardScaler().fit(part(fold, TRAIN)[0])
        x, y = scaler.transform(part(fold, TRAIN)[0]), part(fold, TRAIN)[1]
        held, true = scaler.transform(part(fold, VALIDATION)[0]), part(fold, VALIDATION)[1]
        weight = "balanced" if balanced else None
        models = {
            c: LogisticRegression(C=c, class_weight=weight, max_iter=5000, tol=1e-8).fit(x, y)
            for c in C
        }
        recalls = {
            c: recall_score(true, of.predict(held), average="macro", zero_division=0)
            for c, of in models.items()
        }
        chosen = description["chosen"][f"fold_{fold}.seed_{seed}"]["c"]
        assert recalls[chosen] == pytest.approx(max(recalls.values()))
        raw = part(fold, TEST)[0]
        found = classifier(torch.from_numpy(raw).float()).double().numpy()
        expected = models[chosen].predict_proba(scaler.transform(raw))
        np.testing.assert_allclose(found, expected, atol=1e-4)
        state = {name: value.double().numpy() for name, value in classifier.state_dict().items()}
        z = (raw - state["input_mean"]) / state["input_std"]
        powers = np.exp(z @ state["weight"].T + state["bias"])
        np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4, 1000])
def test_the_neighbours_are_those_of_brute_force(k: int, metric: str):
    description = trained("knn", noise=2.0, knn={"k": k, "metric": metric})
    for fold, _, classifier in read_replicas(description):
        x, y = part(fold, TRAIN)
        scaler = StandardScaler().fit(x)
        rival = KNeighborsClassifier(
            min(k, len(x)), weights="distance", metric=metric, algorithm="brute"
        ).fit(scaler.transform(x), y)
        raw = np.concatenate([part(fold, TEST)[0], x[:5]])  # twins too
        found = classifier(torch.from_numpy(raw).float()).numpy()
        votes = rival.predict_proba(scaler.transform(raw))
        np.testing.assert_allclose(found[: -5 or None], votes[:-5], atol=2e-4)
        assert found[-5:].argmax(1).tolist() == y[:5].tolist() and found[-5:].max(1).min() == 1


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
@pytest.mark.parametrize("system", FLOOR)
def test_no_test_utterance_reaches_what_is_learned(system: str, protocol: str):
    """Without their features the same is learned, and the scale is that of the training part."""
    prepare(utterances("sample", speakers=6), noise=2.0, protocol=protocol)
    task = task_of(settings_of(system))
    folds = read_split()[0]["folds"]
    for replica in SYSTEMS[system].train_all(task, folds, [0], "train"):
        x = part(replica.fold, TRAIN)[0]
        np.testing.assert_allclose(replica.state["input_mean"], x.mean(0), atol=1e-5)
        np.testing.assert_allclose(replica.state["input_std"], x.std(0), atol=1e-5)
        kept = task_of(settings_of(system))
        for row in select_rows(kept.rows, "acoustic", replica.fold, TEST):
            kept.features.acoustic[row["id"]] = np.full_like(x[0], 1e6, dtype=np.float32)
        again = SYSTEMS[system].train_all(kept, folds, [0], "train")[replica.fold]
        assert again.chosen == replica.chosen
        assert all(torch.equal(again.state[name], replica.state[name]) for name in again.state)


def test_the_validation_part_chooses_and_is_not_learned_from():
    prepare(noise=2.0)
    one, other = task_of({"c": [0.1]}), task_of({"c": [0.1]})
    for row in select_rows(other.rows, "acoustic", 0, VALIDATION):
        other.features.acoustic[row["id"]] = -9 * other.features.acoustic[row["id"]]
    states = [
        SYSTEMS["linear_probe"].train_all(task, 1, [0], "t")[0].state for task in (one, other)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    "protocol, changes",
    [
        ("paper", {}),
        ("speaker", {}),
        ("sentence", {}),
        ("speaker_sentence", {}),
        ("speaker", {"folds": 5}),
    ],
)
def test_without_a_validation_part_it_chooses_within_the_training_part(
    protocol: str, changes: dict[str, Any]
):
    rows = utterances("sample", speakers=5, sentences=4)
    chosen = trained(
        "linear_probe", rows, 2.0, protocol=protocol, validation=0, selection="last", **changes
    )["chosen"]
    assert {of["c"] for of in chosen.values()} <= set(read_description()["settings"]["c"])
    found, split_rows = read_split()
    held = select_rows(split_rows, "acoustic", 0, TRAIN)
    x = torch.arange(len(held), dtype=torch.float32)[:, None]  # which row it is
    parts = list(inner_parts(Training(Samples(x, torch.from_numpy(labels(held))), held, protocol)))
    assert len(parts) >= 2
    for learned, tried in parts:
        # Each is standardised by what is learned from.
        assert abs(float(learned.x.mean())) < 1e-5
        assert len(learned.y) + len(tried.y) <= len(held)


@pytest.mark.parametrize("protocol, key", [("speaker", "speaker"), ("sentence", "sentence")])
def test_inner_parts_keep_apart_what_the_protocol_keeps_apart(protocol: str, key: str):
    rows = utterances("sample", speakers=5, sentences=5)
    names = sorted({row[key] for row in rows})
    x = torch.tensor([[float(names.index(row[key]))] for row in rows])
    training = Training(Samples(x, torch.from_numpy(labels(rows))), rows, protocol)
    parts = list(inner_parts(training))
    assert len(parts) == 5
    for learned, tried in parts:
        assert set(learned.x.flatten().tolist()).isdisjoint(tried.x.flatten().tolist())


def test_one_speaker_is_divided_by_utterance_and_one_utterance_is_not_divided():
    rows = utterances("sample", speakers=1, sentences=3)
    x = torch.rand(len(rows), 2)
    y = torch.from_numpy(labels(rows))
    assert len(list(inner_parts(Training(Samples(x, y), rows, "speaker")))) == 3
    single = utterances("sample", speakers=1, sentences=1)
    y = torch.from_numpy(labels(single))
    assert list(inner_parts(Training(Samples(x[:7], y), single, "speaker"))) == []


@pytest.mark.parametrize("emotions", [EMOTIONS[:1], EMOTIONS[:2], EMOTIONS[:3]])
@pytest.mark.parametrize("system", FLOOR)
def test_an_emotion_that_was_not_trained_on_is_never_predicted(system: str, emotions: Any):
    rows = utterances("sample", speakers=2, sentences=4, emotions=emotions)
    trained(system, rows, 1.0, allow_missing_classes=True)
    x = torch.from_numpy(part(0, TEST)[0]).float()
    for *_, classifier in read_replicas(read_description()):
        assert classifier(x)[:, len(emotions) :].max() == 0
        if system == "linear_probe":
            fitted = LogisticRegression(
                C=read_description()["chosen"]["fold_0.seed_0"]["c"], tol=1e-8, max_iter=5000
            )
            if len(emotions) > 1:
                scaler = StandardScaler().fit(part(0, TRAIN)[0])
                fitted.fit(scaler.transform(part(0, TRAIN)[0]), part(0, TRAIN)[1])
                expected = fitted.predict_proba(scaler.transform(part(0, TEST)[0]))
                found = classifier(x)[:, : len(emotions)]
                np.testing.assert_allclose(found, expected, atol=1e-4)
        break


@pytest.mark.parametrize("system", FLOOR)
def test_what_has_no_epochs_has_no_curves_and_no_best_epoch(system: str, capsys: Any):
    of_test(system, best_test_epoch=True, visual=["sample"])
    best_test_epoch.main()
    tsne.main()
    assert f"best_test_epoch: {system} does not learn by epochs" in capsys.readouterr().out
    for name in ("curves/loss", "curves/recall", "curves/lmmd", "tsne"):
        assert read_table(METRICS / f"{name}.csv") == []
    assert read_json(METRICS / "best_test_epoch.json") == {}
    found = read_json(METRICS / "train.json")
    assert {"acoustic_uar", "validation_uar", "n_replicas"} <= found.keys()
    assert "epoch" not in found and np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("system", FLOOR)
def test_it_is_bundled_and_says_that_it_saw_no_faces(system: str):
    details = of_test(system, seeds=2)
    assert details["visual"] == [] and details["n_test_with_trained_face"] == 0
    assert list(details["encoders"]) == ["acoustic"]
    model.main()
    bundle = read_bundle(BUNDLE)
    assert len(bundle.final) == 2 and len(bundle.folds) == 4
    assert bundle.contents["system"] == system and bundle.contents["data"]["faces"] == 0
    if system == "linear_probe":
        chosen = sorted(of["c"] for of in read_description()["chosen"].values())
        assert bundle.contents["chosen"]["c"] == chosen[1]
    x = np.concatenate([part(0, role)[0] for role in (TRAIN, VALIDATION, TEST)])
    np.testing.assert_allclose(bundle.final[0].state_dict()["input_mean"], x.mean(0), atol=1e-5)
    assert "learned nothing from visual" in Recogniser(bundle).misfit([VISUAL])
    card.main()
    assert f"`{system}` (`stages/systems/{system}.py`), trained on all 84" in MODEL_CARD.read_text()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"system": "fdan"}, "chosen: is not what fdan chooses"),
        ({"system": "svm"}, f"system: 'svm' is none of {', '.join(SYSTEMS)}"),
        ({"settings": {"c": [0.0]}}, "settings.c.0: "),
        ({"settings": {"c": [1.0], "modalities": []}}, "settings.modalities: "),
        ({"chosen": {"fold_0.seed_0": {"c": 1.0}, "fold_1.seed_0": {}}}, "chosen: is not what "),
        ({"chosen": {"fold_0.seed_0": {"c": 1.0}, "fold_1.seed_0": {"c": -1.0}}}, "chosen."),
        ({"system": "majority", "settings": {}}, "chosen: is not what majority chooses"),
    ],
)
def test_a_description_of_what_cannot_be_is_refused(changes: dict[str, Any], said: str):
    trained("linear_probe")
    write_json(DESCRIPTION, read_json(DESCRIPTION) | changes, rounded=False)
    message = user_error(read_description)
    assert message.startswith(f"{DESCRIPTION}: {said}") and "dvc repro train" in message


def test_tensors_of_another_system_are_refused():
    trained("linear_probe")
    changes = {"system": "knn", "settings": {"k": 5, "metric": "cosine"}}
    names = dict.fromkeys(read_json(DESCRIPTION)["chosen"], {})
    write_json(DESCRIPTION, read_json(DESCRIPTION) | changes | {"chosen": names}, rounded=False)
    message = user_error(lambda: list(read_replicas(read_description())))
    assert message.startswith(f"{MODEL}: fold_0.seed_0: ")


@pytest.mark.parametrize(
    "key, section",
    [
        ("system", {"system": "svm"}),
        ("linear_probe.c", {"linear_probe": {"c": []}}),
        ("linear_probe.c", {"linear_probe": {"c": [0.0]}}),
        ("linear_probe.c", {"linear_probe": {"c": [1.0, 1.0]}}),
        ("knn.k", {"knn": {"k": 0, "metric": "cosine"}}),
        ("knn.metric", {"knn": {"k": 1, "metric": "manhattan"}}),
        ("inca.k_step", {"inca": {"k_step": 0}}),
        ("inca.k_min", {"inca": {"k_min": 9, "k_max": 8}}),
        ("inca.ridge", {"inca": {"ridge": -1.0}}),
        ("inca.degree", {"inca": {"degree": 1.5}}),
    ],
)
def test_settings_that_cannot_be_are_refused(key: str, section: dict[str, Any]):
    write_params(Path(), **section)
    assert user_error(split.main).startswith(f"params.yaml: {key}: ")
