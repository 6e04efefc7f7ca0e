"""What learns from spectrograms, trained and tested by the stages on a small corpus."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from stages import evaluate, train
from stages.io.files import read_json
from stages.runtime.params import read_params
from stages.runtime.paths import DESCRIPTION, METRICS, MODEL
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.protocols import TEST
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import MELS, Clip, Reader
from stages.systems.finetuned import FineTuned, FineTuning
from stages.systems.named import SYSTEMS
from tests.feature_files import logits, prepare, utterances, work_in, write_params

LEARNED = {"epochs": 8, "batch_size": 14}
# Each with settings by which it learns from 35 short utterances in seconds.
SMALL: dict[str, dict[str, Any]] = {
    "gm_tcnet": {"gm_tcnet": LEARNED | {"seconds": 0.2}},
    "tim_net": {"tim_net": LEARNED | {"seconds": 0.2, "blocks": 4, "learning_rate": 0.01}},
    "resnet18": {
        "finetuned": {
            "epochs": 6,
            "batch_size": 7,
            "size": 64,
            "body_factor": 1,
            "momentum": 0.9,
        }
    },
}


LONG = pytest.param("resnet18", marks=pytest.mark.long)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def trained(
    system: str, of_section: dict[str, Any] | None = None, rows: Any = None, **changes: Any
) -> dict[str, Any]:
    """What models/replicas.json says after a training on a small corpus.

    Args:
        of_section: changes to the section of the system.
        changes: to other params.
    """
    [(section, values)] = SMALL[system].items()
    changes |= {"system": system, section: values | (of_section or {})}
    prepare(rows or utterances("sample", sentences=3), **changes)
    train.main()
    return read_description()


def clips_of_test(system: str, settings: dict[str, Any], fold: int) -> list[Clip]:
    """What the system is given of the test utterances of a fold."""
    found, rows = read_split()
    features = Features(found["features_sha256"])
    reader = Reader(SYSTEMS[system], settings, features, rows)
    return reader.clips(select_rows(rows, "acoustic", fold, TEST))


@pytest.mark.parametrize("system", SMALL)
def test_it_learns_what_can_be_learned_and_tells_each_utterance_by_itself(system: str):
    description = trained(system)
    evaluate.main()
    found = read_json(METRICS / "details.json")
    assert found["uar"] > 0.6 and found["system"] == system
    assert found["encoders"] == {}  # it needs no features of a frozen encoder
    tell = SYSTEMS[system].probabilities
    settings = description["settings"]
    for fold, _, classifier in read_replicas(description):
        clips = clips_of_test(system, settings, fold)
        assert len({len(clip[MELS]) for clip in clips}) > 5
        together = tell(classifier, clips)
        assert together.dtype == torch.float32 and together.shape == (len(clips), 7)
        torch.testing.assert_close(together.sum(1), torch.ones(len(clips)))
        assert torch.equal(tell(classifier, clips[::-1]).flip(0), together)
        assert torch.equal(tell(classifier, clips[3:4])[0], together[3])
        with torch.inference_mode():  # nor on batch mates, but for rounding
            prepared = [SYSTEMS[system].prepare(clip, settings)[MELS] for clip in clips]
            at_once = logits(classifier.network, torch.stack(prepared)).softmax(1)
        torch.testing.assert_close(at_once, together, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("system", ["gm_tcnet", "tim_net", LONG])
def test_shuffled_labels_give_chance(system: str):
    trained(system, shuffle_labels=True)
    evaluate.main()
    found = read_json(METRICS / "details.json")
    assert found["n_test"] == 84 and found["uar"] < 0.3


@pytest.mark.parametrize("system", ["gm_tcnet", "tim_net", LONG])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(system: str):
    first = trained(system, {"epochs": 1}, seeds=2)
    content = MODEL.read_bytes(), DESCRIPTION.read_bytes()
    one, other, *_ = (classifier.state_dict() for *_, classifier in read_replicas(first))
    assert any(not torch.equal(one[name], other[name]) for name in one if "weight" in name)
    torch.manual_seed(7)
    train.main()
    assert (MODEL.read_bytes(), DESCRIPTION.read_bytes()) == content


@pytest.mark.parametrize("system", SMALL)
def test_an_emotion_that_was_not_trained_on_is_never_predicted(system: str):
    rows = utterances("sample", speakers=2, sentences=4, emotions=["anger", "fear"])
    description = trained(system, {"epochs": 2}, rows, allow_missing_classes=True)
    for fold, _, classifier in read_replicas(description):
        clips = clips_of_test(system, description["settings"], fold)
        found = SYSTEMS[system].probabilities(classifier, clips)
        assert found[:, [1, 3, 4, 5, 6]].max() == 0
    losses = read_json(METRICS / "train.json")
    assert losses["acoustic_loss"] < 1e4 and losses["validation_loss"] < 1e4


@pytest.mark.parametrize("weights, same", [("imagenet", True), ("random", False)])
def test_it_begins_with_published_weights_of_the_cache(
    weights: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    published = torchvision.models.resnet18()
    torch.save(published.state_dict(), path)
    changes = {"epochs": 1, "weights": weights, "body_factor": 0, "weight_decay": 0}
    description = trained("resnet18", changes)
    for *_, classifier in read_replicas(description):
        parts = dict(classifier.network.body.named_parameters())
        assert same == torch.equal(parts["conv1.weight"], published.conv1.weight)
        assert same == torch.equal(parts["layer4.1.conv2.weight"], published.layer4[1].conv2.weight)


def test_the_new_layer_learns_faster_and_all_ever_more_slowly():
    write_params(Path(), finetuned={"learning_rate": 0.01, "body_factor": 0.1, "momentum": 0.5})
    system = SYSTEMS["resnet18"]
    settings = system.settings(read_params(), [])
    assert isinstance(system, FineTuning)
    assert settings["db_min"] == -70 and settings["db_max"] == 30
    with torch.device("meta"):
        network = FineTuned("resnet18", 7)
    body, last = system.optimizer(network, settings).param_groups
    assert (body["lr"], last["lr"], body["momentum"]) == (pytest.approx(0.001), 0.01, 0.5)
    assert len(body["params"]) + 2 == len(list(network.parameters())) and len(last["params"]) == 2
    rates = [system.rate(step, 9, settings) for step in (0, 1000, 10_000)]
    assert rates == [1, pytest.approx(1.3**-0.75), pytest.approx(4**-0.75)]


@pytest.mark.parametrize(
    "changes, frames",
    [
        ({"sample_rate": 22050, "n_fft": 2048, "win_length": 2048, "hop_length": 512}, 188),
        ({"sample_rate": 16000, "hop_length": 160}, 436),
    ],
)
@pytest.mark.parametrize("system", ["gm_tcnet", "tim_net"])
def test_the_length_in_frames_follows_from_that_in_seconds(
    system: str, changes: dict[str, Any], frames: int
):
    write_params(Path(), mels=changes)
    settings = SYSTEMS[system].settings(read_params(), [])
    assert settings["seconds"] == 4.35
    assert settings["frames"] == frames and settings["silence"] == -100
    write_params(Path(), mels={"ref": 10.0})
    assert SYSTEMS[system].settings(read_params(), [])["silence"] == -110


def test_labels_are_smoothed_over_the_emotions_that_are_trained_on():
    system, y = SYSTEMS["tim_net"], torch.tensor([1, 4, 4])
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    absent = torch.tensor([0, 0, 1, 0, 0, 0, 1]).bool()
    masked = x.masked_fill(absent, torch.finfo(x.dtype).min)
    shares = x[:, ~absent].log_softmax(1)
    smooth = 0.9 * shares[range(3), [1, 3, 3]] + 0.1 * shares.mean(1)
    found = system.loss(masked, y, {"label_smoothing": 0.1})
    torch.testing.assert_close(found, -smooth.mean())
