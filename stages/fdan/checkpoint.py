"""The trained replicas on disk: models/fdan.safetensors and the models/fdan.json beside it.

The tensors of a replica are the state of its SpeechClassifier, named "fold_<k>.seed_<s>.<name>".
The JSON file holds the settings of the training and the widths of the features, the utterances of
every bank, the epochs kept, and the SHA-256 of the tensors and of the split.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.fdan.inference import Bank, SpeechClassifier, Standardizer
from stages.fdan.network import FDAN
from stages.io.files import file_sha256, read_json, replacing, write_json
from stages.runtime.errors import UserError, one_line
from stages.runtime.paths import MODEL, SPLIT

DESCRIPTION = Path("models/fdan.json")
REMEDY = "run dvc repro train"
DESCRIPTION_KEYS = (
    "acoustic_dim", "bank", "emotions", "folds", "inference", "seeds", "settings", "sha256",
    "split_sha256", "visual_dim",
)  # fmt: skip


def replica_name(fold: int, seed: int) -> str:
    """How a replica is called in both files."""
    return f"fold_{fold}.seed_{seed}"


def write_model(states: Mapping[str, Mapping[str, Tensor]], description: dict[str, Any]) -> None:
    """Write the states of all replicas by name, and their description.

    Raises:
        UserError: there is no room, or a file cannot be written.
    """
    tensors = {
        f"{replica}.{name}": value.contiguous()
        for replica, state in states.items()
        for name, value in state.items()
    }
    with replacing(MODEL) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # of the disk; it has no errno
            raise UserError(
                f"{MODEL}: cannot be written: {error}; free space or mend access"
            ) from error
    facts = {"sha256": file_sha256(MODEL), "split_sha256": file_sha256(SPLIT)}
    write_json(DESCRIPTION, description | {"emotions": list(EMOTIONS)} | facts, rounded=False)


def read_description() -> dict[str, Any]:
    """What models/fdan.json says.

    Raises:
        UserError: models/fdan.json cannot be read or lacks a key; the model was trained on another
            split (and so perhaps on the test voices of this one); or models/fdan.safetensors is
            not the file described.
    """
    description = read_json(DESCRIPTION, DESCRIPTION_KEYS)
    if description["emotions"] != list(EMOTIONS):
        raise UserError(f"{MODEL}: knows the emotions {description['emotions']}; {REMEDY}")
    if file_sha256(SPLIT) != description["split_sha256"]:
        raise UserError(f"{MODEL}: was trained on another {SPLIT}; {REMEDY}")
    if not MODEL.exists() or file_sha256(MODEL) != description["sha256"]:
        raise UserError(f"{MODEL}: is not the file that {DESCRIPTION} describes; {REMEDY}")
    return description


def read_replicas(description: dict[str, Any]) -> Iterator[tuple[int, int, SpeechClassifier]]:
    """Fold, seed and classifier of every replica described.

    Raises:
        UserError: the tensors do not fit the description.
    """
    try:
        tensors = load_file(MODEL)
        for fold in range(description["folds"]):
            for seed in description["seeds"]:
                prefix = f"{replica_name(fold, seed)}."
                state = {
                    name.removeprefix(prefix): value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
                yield fold, seed, restore(description, state)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = one_line(error)
        raise UserError(f"{MODEL}: cannot be read: {reason}; {REMEDY}") from error


def restore(description: dict[str, Any], state: Mapping[str, Tensor]) -> SpeechClassifier:
    """The classifier with a state; RuntimeError or KeyError where they do not fit."""
    network = FDAN(
        description["visual_dim"],
        description["acoustic_dim"],
        len(EMOTIONS),
        **description["settings"]["network"],
    )
    visual = bank = None
    if "visual_mean" in state:
        visual = Standardizer(state["visual_mean"], state["visual_std"])
    if "bank_x_v" in state:
        bank = Bank(state["bank_x_v"], state["bank_x_a"])
    acoustic = Standardizer(state["acoustic_mean"], state["acoustic_std"])
    classifier = SpeechClassifier(network, acoustic, visual, bank)
    classifier.load_state_dict(state)
    return classifier.eval()
