"""The roles of all samples and their features, for train and the stages after it."""

from typing import Any

import numpy as np

from stages.corpora.emotions import EMOTIONS
from stages.io.arrays import decode_ids, open_arrays
from stages.io.files import has_sha256, read_json, read_table
from stages.runtime.errors import UserError
from stages.runtime.paths import SPLIT, SPLIT_SUMMARY, features_path
from stages.splits.protocols import SAME_RECORDING, TEST, TRAIN, VALIDATION, Rows, marks

# What train and what follows it need of data/split.json.
SPLIT_KEYS = (
    "acoustic", "duplicates", "encoders", "excluded", "features_sha256", "folds",
    "n_test_with_suspected_copy", "n_test_with_trained_face", "protocol", "shuffle_labels",
    "skipped", "skipped_unevenly", "validated_by", "visual",
)  # fmt: skip


def read_split() -> tuple[dict[str, Any], Rows]:
    """The content of data/split.json, its `classes` where they are all too, and data/split.csv.

    Raises:
        UserError: one of them cannot be read, or lacks a key or a column.
    """
    split = {"classes": list(EMOTIONS)} | read_json(SPLIT_SUMMARY, SPLIT_KEYS)
    folds = [f"fold_{fold}" for fold in range(split["folds"])]
    columns = ["modality", "id", "session", "speaker", "sentence", "dialogue", "emotion", "carried"]
    return split, read_table(SPLIT, [*columns, *folds])


class Features:
    """The features of the chosen corpora.

    Attributes:
        visual: by utterance id, those of its usable frames, [frames, D].
        acoustic: by utterance id, [D].
    """

    def __init__(self, sha256_of: dict[str, dict[str, str]]):
        """Read the feature files that data/split.json names, by modality and corpus.

        Raises:
            UserError: a file is not the one that was split, or its features are not finite.
        """
        read = {
            modality: dict(pair for item in of.items() for pair in _read(modality, *item))
            for modality, of in sha256_of.items()
        }
        self.visual: dict[str, np.ndarray] = read.get("visual", {})
        self.acoustic: dict[str, np.ndarray] = read.get("acoustic", {})

    def visual_samples(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Every usable frame is a sample: features [n, D], labels [n] and utterance ids [n].

        Raises:
            UserError: there are no rows.
        """
        if not rows:
            raise UserError(
                f"{SPLIT}: has no visual training samples; run dvc repro, or set acoustic_only: "
                "true"
            )
        frames = [self.visual[row["id"]] for row in rows]
        repeats = [len(item) for item in frames]
        ids = [row["id"] for row, count in zip(rows, repeats) for _ in range(count)]
        return np.concatenate(frames), np.repeat(labels(rows), repeats), ids

    def acoustic_samples(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Every utterance is a sample: features [n, D], labels [n] and utterance ids [n]."""
        ids = [row["id"] for row in rows]
        return np.stack([self.acoustic[name] for name in ids]), labels(rows), ids


def _read(modality: str, corpus: str, sha256: str) -> list[tuple[str, np.ndarray]]:
    """The ids of a corpus, and the features of each."""
    path = features_path(modality, corpus)
    if not has_sha256(path, sha256):
        raise UserError(f"{path}: is not the file that data/split.json names; dvc repro")
    with open_arrays(path, f"{modality} features") as file:
        pooled = list(file["pooled"][...]) if "pooled" in file else []
        if pooled and modality == "visual":
            pooled = [frames[ok] for frames, ok in zip(pooled, file["ok"][...])]
        found = list(zip(decode_ids(file["ids"][...]), pooled))
    bad = [name for name, values in found if not np.isfinite(values).all()]
    if bad:
        raise UserError(
            f"{path}: the {modality} features of {len(bad)} of {len(found)} utterances are not "
            f"finite, first those of {bad[0]}; delete it and run dvc repro"
        )
    return found


def labels(rows: Rows) -> np.ndarray:
    """Indices int64 [n] of the rows' emotions in EMOTIONS."""
    return np.array([EMOTIONS.index(row["emotion"]) for row in rows], np.int64)


def bank_candidates(rows: Rows, fold: int) -> Rows:
    """The visual training rows of a fold that an inference bank may draw from.

    Protocol paper trains on the visual samples of test utterances; no test or validation utterance
    may attend to them.
    """
    held = {
        mark
        for role in (TEST, VALIDATION)
        for row in select_rows(rows, "acoustic", fold, role)
        for mark in marks(row, SAME_RECORDING)
    }
    trained = select_rows(rows, "visual", fold, TRAIN)
    return [row for row in trained if held.isdisjoint(marks(row, SAME_RECORDING))]


def select_rows(rows: Rows, modality: str, fold: int, role: str) -> Rows:
    """The rows of data/split.csv of a modality that have `role` in `fold`."""
    return [row for row in rows if row["modality"] == modality and row[f"fold_{fold}"] == role]
