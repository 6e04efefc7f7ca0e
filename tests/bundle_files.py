"""A small bundle, whose networks have random parameters, made when a test runs."""

from pathlib import Path
from typing import Any

import torch

from stages.corpora.emotions import EMOTIONS
from stages.fdan.inference import Bank, SpeechClassifier
from stages.fdan.network import FDAN
from stages.recognition.bundle import final_name, write_bundle
from stages.systems.checkpoint import fold_replicas
from stages.systems.contract import Standardizer
from tests.helpers import both, params

DIM = 512  # of SqueezeNet
NETWORK = {"dim": 8, "ffn_dim": 8, "layers": 1, "cross_attention": True, "acoustic_only": False}
SETTINGS = {
    **{key: params()[key] for key in ("alpha", "momentum", "weight_decay", "batch_size", "epochs")},
    "classes": len(EMOTIONS),
    "learning_rate": 0.1,
    "lmmd": params()["lmmd"],
    "network": NETWORK,
    "select": "uar",
    "patience": 0,
}
RESULT = {
    "system": "fdan",
    "acoustic": "ravdess",
    "visual": ["ravdess"],
    "protocol": "speaker",
    "war": 0.8,
    "uar": 0.8151,
    "w_f1": 0.79,
    "ci95": {"uar_by_utterance": {"low": 0.765, "high": 0.864}},
    "n_correct": 7.0,
    "n_test": 9,
    "n_seeds": 2,
    "n_folds": 2,
    "n_speakers": 3,
    "n_test_with_trained_face": 0,
    "n_test_with_suspected_copy": 0,
    "n_test_with_trained_text": 0,
    "text_leak": False,
    "labels_shuffled": False,
    "test_modalities": ["acoustic"],
    "skipped_unevenly": {},
    "encoders": {
        modality: {"name": "squeezenet1_1", "weights": "imagenet", "weights_source": "a.pth"}
        for modality in ("visual", "acoustic")
    },
    "classes": {
        "anger": {"support": 5.0, "predicted": 4.0, "recall": 0.8, "precision": 1.0},
        "fear": {"support": 4.0, "predicted": 0.0, "recall": 0.0},
        "disgust": {"support": 0.0, "predicted": 5.0, "precision": 0.0},
    },
    "calibration": {"n_validation": 6, "ece_before": 0.21, "ece_after": 0.04, "temperature": 2.0},
}


def classifier_of(seed: int, **flags: Any) -> SpeechClassifier:
    """With random parameters, and a bank where there is attention."""
    draw = torch.Generator().manual_seed(seed)
    settings = NETWORK | flags
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FDAN(DIM, DIM, len(EMOTIONS), **settings)

    def moments() -> Standardizer:
        return Standardizer(torch.randn(DIM, generator=draw), torch.rand(DIM, generator=draw) + 1)

    voices, faces = moments(), None if settings["acoustic_only"] else moments()
    bank = Bank(torch.randn(3, DIM, generator=draw), torch.randn(2, DIM, generator=draw))
    attends = settings["cross_attention"] and not settings["acoustic_only"]
    return SpeechClassifier(network.eval(), voices, faces, bank if attends else None).eval()


def write_small_bundle(
    folder: Path, flags: dict[str, Any] | None = None, inference: str = "bank", **changes: Any
) -> dict[str, SpeechClassifier]:
    """Write a bundle of two folds and two seeds; the classifiers in it, by name.

    Args:
        flags: of the network.
        inference: what a voice attends to.
        changes: to its contents.
    """
    flags = flags or {}
    names = [*map(final_name, (7, 8)), *fold_replicas(2, [7, 8])]
    made = {name: classifier_of(number, **flags) for number, name in enumerate(names)}
    dims = {"acoustic": DIM} | ({} if flags.get("acoustic_only") else {"visual": DIM})
    contents = {
        "folds": 2,
        "seeds": [7, 8],
        "system": "fdan",
        "settings": SETTINGS | {"network": NETWORK | flags, "inference": inference},
        "dims": dims,
        "frames": params()["frames"],
        "mels": params()["mels"],
        "encoders": params(encoders=both(name="squeezenet1_1"))["encoders"],
        "sources": dict.fromkeys(dims, "seed 0"),
        "chosen": {"epoch": 3},
        "temperature": 2.0,
        "data": {
            "acoustic": "ravdess",
            "visual": [] if flags.get("acoustic_only") else ["ravdess"],
            "utterances": 28,
            "faces": 0 if flags.get("acoustic_only") else 30,
            "speakers": 4,
            "licences": {"ravdess": "CC BY-NC-SA 4.0", "folder": ""},
        },
        "result": RESULT,
        "trained_on": [],
    }
    states = {name: classifier.state_dict() for name, classifier in made.items()}
    write_bundle(folder, states, contents | changes)
    return made
