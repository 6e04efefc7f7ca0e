"""Copies and class balance: the training part has them, and nothing else does, in every system."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn.functional import cross_entropy, one_hot

from stages import best_test_epoch, evaluate, model, split, train, tsne
from stages.corpora.emotions import EMOTIONS
from stages.fdan.lmmd import lmmd
from stages.fdan.network import Outputs, fdan_loss
from stages.fdan.replicas import make_bank, prepare_fold
from stages.fdan.training import Settings
from stages.io.arrays import open_arrays, write_arrays
from stages.io.files import read_json
from stages.recognition.bundle import read_bundle
from stages.runtime.params import read_params
from stages.runtime.paths import BUNDLE, METRICS, MODEL, features_path, mels_path
from stages.splits.dataset import Features, labels, number_of, read_split, select_rows
from stages.splits.protocols import TRAIN
from stages.systems.contract import (
    ACOUSTIC,
    MELS,
    VISUAL,
    Reader,
    Samples,
    Task,
    Trained,
    even,
    parts,
    weights_of,
)
from stages.systems.named import SYSTEMS
from stages.systems.pooled import Training
from stages.systems.selection import inner_parts
from tests.feature_files import PARAMS, SETTINGS, prepare, utterances, work_in, write_features
from tests.helpers import user_error

K = 2  # copies of each clip
ATTENDING: dict[str, Any] = {
    "dim": 16, "heads": 2, "epochs": 2, "batch_size": 14, "modalities": [ACOUSTIC, VISUAL]
}  # fmt: skip
# Each small enough to train in a moment.
SMALL: dict[str, Any] = {
    "linear_probe": {"c": [0.1, 1.0]},
    "inca": {"k_min": 2, "k_max": 12, "k_step": 2},
    "finetuned": {"epochs": 1, "batch_size": 28, "size": 64},
    "gm_tcnet": {"epochs": 2, "batch_size": 14, "seconds": 0.2},
    "tim_net": {"epochs": 2, "batch_size": 14, "seconds": 0.2, "blocks": 2},
    "tf_mix": {"epochs": 2, "batch_size": 14, "channels": 4},
    "query_tokens": ATTENDING | {"ffn_dim": 16, "layers": 1, "queries": 2, "decoder_layers": 1},
    "cadf": ATTENDING | {"ffn_dim": 16},
    "sdt": ATTENDING,
    "epochs": 2,
}
LARGE = ("vgg16", "vgg19", "resnet34", "resnet50", "efficientnet_lite0")
EVERY = [pytest.param(name, marks=pytest.mark.long) if name in LARGE else name for name in SYSTEMS]
WITHOUT_LOSS = ("majority", "knn", "inca")
UNEVEN = [
    row
    for i, row in enumerate(utterances("sample", speakers=4, sentences=3))
    if row["emotion"] in ("anger", "fear") or i % 3
]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def copied(values: np.ndarray) -> np.ndarray:
    """The arrays of all clips, and after them those of K copies that are somewhat different."""
    draw = np.random.default_rng(5)
    more = [values + 0.1 * draw.normal(size=values.shape) for _ in range(K)]
    return np.concatenate([values, *more]).astype(values.dtype)


def write_copies() -> None:
    """Add K copies of every clip to the files of features and spectrograms, and split them."""
    for modality in (ACOUSTIC, VISUAL):
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            arrays = {name: file[name][...] for name in file}
        arrays["pooled"] = copied(arrays["pooled"])
        write_features(Path(), modality, "sample", SETTINGS, arrays)
    with open_arrays(mels_path("sample"), "mels") as file:
        arrays = {name: file[name][...] for name in file}
    lengths = np.tile(np.diff(arrays["offsets"]), 1 + K)
    arrays |= {"values": copied(arrays["values"]), "offsets": np.cumsum([0, *lengths])}
    with write_arrays(mels_path("sample"), "mels", PARAMS["mels"], 0) as file:
        for name, rows in arrays.items():
            file.append(name, rows)
    split.main()


def prepared(system: str, copies: bool = True, rows: Any = None, **changes: Any) -> None:
    """A small corpus of features, with copies."""
    rows = rows or utterances("sample", sentences=3)
    prepare(rows, 1.0, **SMALL | {"system": system, "protocol": "speaker"} | changes)
    if copies:
        write_copies()


def task_of(system: str, class_balance: str = "none") -> Task:
    found, rows = read_split()
    settings = SYSTEMS[system].settings(read_params(), found["classes"])
    features = Features(found["features_sha256"])
    return Task(features, rows, found["protocol"], settings, class_balance=class_balance)


def fold_0(system: str, task: Task) -> Trained:
    (found,) = SYSTEMS[system].train_all(task, 1, [0], "train")
    return found


def same(one: Trained, other: Trained) -> bool:
    """Whether two trainings end in the same model, by the same epochs."""
    if one.state.keys() != other.state.keys():  # inca keeps other support vectors
        return False
    equal = all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    return equal and one.history == other.history and one.chosen == other.chosen


def every_copy(task: Task) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The view and the arrays by id of every copy that there is."""
    for view in (ACOUSTIC, VISUAL):
        assert len(task.features.copies[view]) == K
        yield from ((view, of) for of in task.features.copies[view])
    yield from ((MELS, task.features.sequences(MELS, copy)) for copy in range(1, K + 1))


@pytest.mark.parametrize("system", EVERY)
def test_copies_of_the_training_part_are_learned_from_and_no_others(system: str):
    prepared(system)
    before = fold_0(system, task_of(system))
    spoiled = task_of(system)
    trained = {
        view: {row["id"] for row in select_rows(spoiled.rows, of, 0, TRAIN)}
        for view, of in ((ACOUSTIC, ACOUSTIC), (VISUAL, VISUAL), (MELS, ACOUSTIC))
    }
    count = 0
    for view, arrays in every_copy(spoiled):
        for name in arrays.keys() - trained[view]:
            arrays[name] = np.full_like(arrays[name], np.nan)
            count += 1
    assert count >= 3 * K
    assert same(fold_0(system, spoiled), before)
    for view in SYSTEMS[system].views(spoiled.settings):  # and now one that is learned from
        changed = task_of(system)
        name = min(trained[view])
        for of, arrays in every_copy(changed):
            if of == view:
                arrays[name] = arrays[name] + 1
        assert not same(fold_0(system, changed), before), view


@pytest.mark.parametrize("system", EVERY)
def test_without_copies_it_learns_otherwise(system: str):
    prepared(system)
    with_copies = fold_0(system, task_of(system))
    prepared(system, copies=False)
    assert not same(fold_0(system, task_of(system)), with_copies)


def test_a_training_part_has_its_clips_first_and_then_the_copies_of_each():
    prepared("cadf")
    task = task_of("cadf")
    rows = task.training_rows(0, [ACOUSTIC, VISUAL])
    plain = select_rows(task.rows, ACOUSTIC, 0, TRAIN)
    assert rows[: len(plain)] == plain and len(rows) == (1 + K) * len(plain)
    assert Counter(map(number_of, rows)) == dict.fromkeys(range(1 + K), len(plain))
    reader = Reader(SYSTEMS["cadf"], task.settings, task.features, task.rows)
    trained, y, watched, _ = parts(reader, task, 0)
    assert len(trained) == len(y) == len(rows)
    for clip, row in zip(trained, rows):
        copy = number_of(row)
        for view in (ACOUSTIC, VISUAL):
            of = task.features.pooled(view, copy)[row["id"]]
            np.testing.assert_array_equal(clip[view], np.atleast_2d(of))
    held = select_rows(task.rows, ACOUSTIC, 0, task.watched)
    for clip, row in zip(watched, held, strict=True):
        np.testing.assert_array_equal(clip[ACOUSTIC][0], task.features.acoustic[row["id"]])


def test_a_view_without_copies_is_that_of_the_clip():
    prepared("cadf")
    task = task_of("cadf")
    task.features.copies[VISUAL] = []
    name = task.rows[0]["id"]
    one, copy = (task.features.views(name, [ACOUSTIC, VISUAL], copy=n) for n in (0, 1))
    assert np.array_equal(one[VISUAL], copy[VISUAL])
    assert not np.array_equal(one[ACOUSTIC], copy[ACOUSTIC])
    assert len(task.training_rows(0, [VISUAL])) == len(select_rows(task.rows, ACOUSTIC, 0, TRAIN))


def test_a_whole_dialogue_is_heard_in_the_same_copy():
    rows = [row | {"dialogue": f"sample/{row['speaker'][-1]}"} for row in utterances("sample")]
    prepared("sdt", rows=rows)
    task = task_of("sdt")
    reader = Reader(SYSTEMS["sdt"], task.settings, task.features, task.rows)
    for row in task.training_rows(0, reader.views)[::5]:
        (clip,) = reader.clips([row])
        turns = [turn["id"] for turn in reader.dialogues[row["dialogue"]]]
        of = task.features.pooled(ACOUSTIC, number_of(row))
        np.testing.assert_array_equal(clip[ACOUSTIC], np.stack([of[name] for name in turns]))
        assert turns[int(clip["turn"])] == row["id"] and len(turns) > 5


@pytest.mark.parametrize("inference", ["bank", "prototypes"])
@pytest.mark.parametrize("class_balance", ["none", "sampler"])
def test_a_bank_holds_no_copy(inference: str, class_balance: str):
    prepared("fdan", rows=UNEVEN, inference=inference)
    banks = []
    for copies in (True, False):
        task = task_of("fdan", class_balance)
        task = task._replace(settings=Settings(**task.settings))
        if not copies:
            task.features.copies.clear()
        shared = prepare_fold(task, 0)
        bank, ids = make_bank(task, 0, 0, shared)
        raw = [x * scale.std + scale.mean
               for x, scale in zip(bank, (shared.visual_scale, shared.acoustic_scale))]  # fmt: skip
        banks.append((raw, ids))
    (one, ids), (other, others) = banks
    assert ids == others
    for x, same_x in zip(one, other):
        torch.testing.assert_close(x, same_x, atol=1e-5, rtol=1e-5)


def test_the_bundle_knows_its_clips_and_tsne_shows_no_copies():
    prepared("fdan", best_test_epoch=True)
    said = []
    for _ in range(2):
        train.main()
        evaluate.main()
        model.main()
        tsne.main()
        best_test_epoch.main()
        table = (METRICS / "tsne.csv").read_text().splitlines()
        said.append((read_bundle(BUNDLE).contents["trained_on"], len(table)))
        said_of = read_json(METRICS / "best_test_epoch.json")
        assert said_of["n_test"] == 84
        prepared("fdan", copies=False, best_test_epoch=True)
    assert said[0] == said[1] and len(said[0][0]) == 84


def test_where_it_chooses_within_the_training_part_a_copy_is_on_the_side_of_its_clip():
    prepared("linear_probe", rows=UNEVEN)
    task = task_of("linear_probe", "sampler")
    rows = task.training_rows(0, [ACOUSTIC])
    assert max(Counter(row["id"] for row in rows).values()) > 1 + K
    known = sorted({row["id"] for row in rows})
    x = torch.tensor([[float(known.index(row["id"])), number_of(row)] for row in rows])
    for protocol in ("paper", "speaker"):
        training = Training(Samples(x, torch.from_numpy(labels(rows))), rows, protocol)
        found = list(inner_parts(training))
        assert len(found) >= 2
        for learned, held in found:
            ids, of_held = (part.x[:, 0].round(decimals=4).tolist() for part in (learned, held))
            assert set(ids).isdisjoint(of_held) and len(set(of_held)) == len(of_held)
            assert len(held.x[:, 1].unique()) == 1  # the clips themselves


@pytest.mark.parametrize("system", ["fdan", "linear_probe", "cadf", "majority"])
@pytest.mark.parametrize("copies", [False, True])
def test_a_sampler_evens_the_classes(system: str, copies: bool):
    prepared(system, copies, UNEVEN)
    plain, task = task_of(system), task_of(system, "sampler")
    rows = task.training_rows(0, SYSTEMS[system].views(task.settings))
    before = Counter(row["emotion"] for row in select_rows(task.rows, ACOUSTIC, 0, TRAIN))
    assert len(set(before.values())) > 1
    most = max(before.values()) * (1 + K * copies)
    assert Counter(row["emotion"] for row in rows) == dict.fromkeys(EMOTIONS, most)
    # Each is there, and none of a class more than once more than another.
    for emotion in EMOTIONS:
        times = Counter(
            (row["id"], number_of(row)) for row in rows if row["emotion"] == emotion
        ).values()
        assert len(times) == before[emotion] * (1 + K * copies) and max(times) - min(times) <= 1
    assert task.training_rows(0, [ACOUSTIC]) == task.training_rows(0, [ACOUSTIC])
    assert not same(fold_0(system, task), fold_0(system, plain))
    if system == "fdan":
        fold = prepare_fold(task._replace(settings=Settings(**task.settings)), 0)
        for part in (fold.visual, fold.acoustic):
            assert len(part.y.bincount().unique()) == 1


def test_classes_that_are_even_are_left_as_they_are_and_absent_ones_absent():
    y = torch.tensor([2, 0, 2, 0])
    assert torch.equal(even(y), torch.arange(4))
    assert torch.equal(weights_of(y), torch.ones(4))
    y = torch.tensor([3, 3, 3, 3, 3, 1, 1])
    assert y[even(y)].bincount().tolist() == [0, 5, 0, 5]
    assert even(y)[:7].tolist() == list(range(7)) and even(y)[7:].tolist() == [5, 5, 6]


def test_weights_are_those_of_scikit_learn():
    y = torch.from_numpy(np.random.default_rng(0).choice(7, 200, p=np.arange(1, 8) / 28))
    found, expected = weights_of(y), compute_sample_weight("balanced", y.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.mean() == pytest.approx(1)


def test_weights_in_the_loss_of_fdan_are_those_of_its_definition_and_lmmd_has_none():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    y_v, y_a = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([1, 1, 0, 2, 2])
    w_v, w_a = 0.1 + normal(6).abs(), 0.1 + normal(5).abs()
    outputs = Outputs(normal(6, 3), normal(5, 3), [(normal(6, 4), normal(5, 4))])
    rows = [one_hot(y, 3).double() for y in (y_v, y_a)]
    found = fdan_loss(outputs, rows[0] * w_v[:, None], rows[1] * w_a[:, None], 0.5, {})
    expected = []
    for logits, y, w in ((outputs.acoustic, y_a, w_a), (outputs.visual, y_v, w_v)):
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        expected.append(-sum(w[i] * shares[i, y[i]].log() for i in range(len(y))) / len(y))
    (z_v, z_a), *_ = outputs.layers
    expected.append(lmmd(z_v, rows[0], z_a, rows[1]))
    for one, other in zip((found.acoustic, found.visual, found.lmmd[0]), expected):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    total = expected[0] + expected[1] + 0.5 * expected[2]
    torch.testing.assert_close(found.total, total, rtol=1e-12, atol=0)


@pytest.mark.parametrize("system", [name for name, of in SYSTEMS.items() if hasattr(of, "loss")])
def test_a_weighted_loss_is_that_of_each_utterance_times_its_weight(system: str):
    of, generator = SYSTEMS[system], torch.Generator().manual_seed(0)
    heads = torch.randn(3 if system == "sdt" else 1, 9, 7, generator=generator).double()
    if system == "tf_mix":
        heads = heads.log_softmax(2)
    y = torch.tensor([0, 0, 0, 1, 6, 6, 3, 0, 1])
    settings = {"label_smoothing": 0.1, "temperature": 2.0}
    weights = weights_of(y).double()
    found = of.weighted_loss(heads[0], y, weights, settings, *heads[1:])
    alone = [of.loss(heads[0, i : i + 1], y[i : i + 1], settings, *heads[1:, i : i + 1])
             for i in range(9)]  # fmt: skip
    expected = np.average(alone, weights=compute_sample_weight("balanced", y.numpy()))
    assert float(found) == pytest.approx(expected, rel=1e-7)
    once = of.weighted_loss(heads[0], y, torch.ones(9).double(), settings, *heads[1:])
    assert float(once) == pytest.approx(float(of.loss(heads[0], y, settings, *heads[1:])), 1e-12)
    assert abs(float(found - once)) > 1e-3


def test_weights_in_the_training_of_a_network_are_those_of_its_definition():
    """The loss of an epoch in which nothing is learned and nothing hidden at random."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "dropout": 0.0, "epochs": 1}
    prepared("cadf", rows=UNEVEN, cadf=SMALL["cadf"] | still)
    task = task_of("cadf", "weights")
    found = fold_0("cadf", task)
    system = SYSTEMS["cadf"]
    reader = Reader(system, task.settings, task.features, task.rows)
    clips, y, *_ = parts(reader, task, 0)
    dims = task.features.dims(reader.views)
    classifier = system.restore({"settings": task.settings, "dims": dims}, found.state)
    losses = cross_entropy(classifier.logits_of(clips).double(), y, reduction="none")
    expected = np.average(losses.numpy(), weights=compute_sample_weight("balanced", y.numpy()))
    assert found.history[0]["acoustic_loss"] == pytest.approx(expected, rel=1e-5)
    assert abs(float(losses.mean()) - expected) > 1e-3


@pytest.mark.parametrize("system", EVERY)
def test_weights_change_what_is_learned_or_are_refused(system: str):
    if system in WITHOUT_LOSS:
        message = user_error(prepared, system, class_balance="weights")
        assert message == (
            f"params.yaml: class_balance: {system} has no loss in which emotions could weigh; "
            "set sampler, or none"
        )
        return
    prepared(system, False, UNEVEN)
    assert not same(*(fold_0(system, task_of(system, of)) for of in ("none", "weights")))


@pytest.mark.parametrize("class_balance", ["weights", "sampler"])
def test_the_stages_balance_as_params_say(class_balance: str):
    prepared("fdan", False, UNEVEN)
    train.main()
    plain = MODEL.read_bytes()
    prepared("fdan", False, UNEVEN, class_balance=class_balance)
    train.main()
    assert MODEL.read_bytes() != plain
