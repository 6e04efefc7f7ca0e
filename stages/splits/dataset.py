"""The roles of all samples and their features, for train and the stages after it."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy as shallow_copy
from itertools import cycle, pairwise, zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np

from stages.corpora.emotions import EMOTIONS
from stages.io.arrays import decode_ids, open_arrays
from stages.io.files import has_sha256, read_json, read_table
from stages.runtime.errors import UserError
from stages.runtime.paths import SPLIT, SPLIT_SUMMARY, features_path, mels_path
from stages.splits.protocols import SAME_RECORDING, TEST, TRAIN, VALIDATION, Rows, marks

# What train and what follows it need of data/split.json.
SPLIT_KEYS = (
    "acoustic", "duplicates", "encoders", "excluded", "features_sha256", "folds",
    "n_test_with_suspected_copy", "n_test_with_trained_face", "n_test_with_trained_text",
    "protocol", "shuffle_labels", "skipped", "skipped_unevenly", "text_leak", "validated_by",
    "visual",
)  # fmt: skip


ByName = dict[str, np.ndarray]  # arrays by utterance id
COPY = "copy"


SPLIT_COLUMNS = (
    "modality", "id", "session", "speaker", "sentence", "dialogue", "turn", "emotion", "carried",
)  # fmt: skip


def read_split() -> tuple[dict[str, Any], Rows]:
    """The content of data/split.json and data/split.csv.

    The first with its `classes`, `test` and `train_share` where it leaves them out, too.

    Raises:
        UserError: one of them cannot be read, or lacks a key or a column.
    """
    usual: dict[str, Any] = {"classes": list(EMOTIONS), "test": "", "train_share": 1.0}
    split = usual | read_json(SPLIT_SUMMARY, SPLIT_KEYS)
    folds = [f"fold_{fold}" for fold in range(split["folds"])]
    return split, read_table(SPLIT, [*SPLIT_COLUMNS, *folds])


class Features:
    """The features of the chosen corpora.

    A row that stands for an augmented copy of an utterance has its number in the column `COPY`
    (`with_copies`); all others stand for the utterance itself.

    Attributes:
        visual: by utterance id, those of its usable frames, [frames, D].
        acoustic, linguistic: by utterance id, [D].
        copies: by modality, the same of each augmented copy in turn.
    """

    def __init__(self, sha256_of: dict[str, dict[str, str]]):
        """Read the feature files that data/split.json names, by modality and corpus.

        Raises:
            UserError: a file is not the one that was split, or its features are not finite.
        """
        read = {
            modality: _merged(_read(modality, *item) for item in of.items())
            for modality, of in sha256_of.items()
            if modality != "mels"
        }
        self.visual, self.acoustic, self.linguistic = (
            read.get(modality, [{}])[0] for modality in ("visual", "acoustic", "linguistic")
        )
        self.copies = {modality: found[1:] for modality, found in read.items()}
        self._sha256_of = sha256_of
        self._ragged: dict[str, list[ByName]] = {}

    def views(
        self, name: str, views: Iterable[str], sequences: bool = False, copy: int = 0
    ) -> dict[str, np.ndarray]:
        """What there is of an utterance, by view.

        Args:
            copy: number of an augmented copy of it; 0 for itself. A view without copies is that of
                the utterance itself.
            views: "acoustic" and "linguistic", pooled [1, D]; "visual", its usable faces [k, D];
                "mels", its log-Mel spectrogram [T, n_mels] in dB.
            sequences: give what was encoded before pooling, [T, D], of those that have it.

        Returns:
            float32; without those that the utterance has not.
        """
        found = {}
        for view in views:
            ragged = self.sequences(view, copy) if sequences or view == "mels" else {}
            pooled = {} if view == "mels" else self.pooled(view, copy)
            if name in ragged:
                found[view] = ragged[name].astype(np.float32)
            elif view == "visual" and len(pooled.get(name, ())):
                found[view] = pooled[name]
            elif view in ("acoustic", "linguistic") and name in pooled:
                found[view] = pooled[name][None]
        return found

    def with_view(self, view: str, pooled: ByName, sequences: ByName) -> Self:
        """The same but for what there is of a view, by utterance id.

        Args:
            pooled: as the attribute of that name, of which "mels" have none.
            sequences: as `sequences` gives them.
        """
        other = shallow_copy(self)
        if view != "mels":
            setattr(other, view, pooled)
        other._ragged = self._ragged | {view: [sequences]}
        return other

    def pooled(self, modality: str, copy: int = 0) -> ByName:
        """The pooled features by utterance id, of a copy where there is one."""
        copies = self.copies.get(modality, [])
        return copies[copy - 1] if 0 < copy <= len(copies) else getattr(self, modality)

    def with_copies(self, rows: Rows, views: Iterable[str]) -> Rows:
        """The rows, and after them those of the augmented copies that any of the views has."""
        numbers = [
            len(self._all_sequences(view)) - 1 if view == "mels" else len(self.copies.get(view, []))
            for view in views
        ]
        copies = range(1, 1 + max(numbers, default=0))
        return [*rows, *(row | {COPY: str(copy)} for copy in copies for row in rows)]

    def dims(self, views: Iterable[str], sequences: bool = False) -> dict[str, int]:
        """The widths D of views, in their order, without those that no utterance has."""
        found = {}
        for view in views:
            ragged = self.sequences(view) if sequences or view == "mels" else {}
            pooled = {} if view == "mels" else getattr(self, view)
            values = next(iter((ragged or pooled).values()), None)
            if values is not None:
                found[view] = values.shape[-1]
        return found

    def sequences(self, view: str, copy: int = 0) -> ByName:
        """The sequences [T, D] of a view by utterance id; {} where there are none.

        Args:
            copy: as of `views`.

        Raises:
            UserError: a file is not the one that was split.
        """
        found = self._all_sequences(view)
        return found[copy if copy < len(found) else 0]

    def _all_sequences(self, view: str) -> list[ByName]:
        """The sequences of the utterances, and of each augmented copy in turn."""
        if view not in self._ragged:
            of = self._sha256_of.get(view, {}).items()
            self._ragged[view] = _merged(_ragged(view, *item) for item in of)
        return self._ragged[view]

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
        frames = [self.pooled("visual", number_of(row))[row["id"]] for row in rows]
        repeats = [len(item) for item in frames]
        ids = [row["id"] for row, count in zip(rows, repeats) for _ in range(count)]
        return np.concatenate(frames), np.repeat(labels(rows), repeats), ids

    def acoustic_samples(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Every utterance is a sample: features [n, D], labels [n] and utterance ids [n]."""
        ids = [row["id"] for row in rows]
        x = [self.pooled("acoustic", number_of(row))[row["id"]] for row in rows]
        return np.stack(x), labels(rows), ids


def number_of(row: Mapping[str, str]) -> int:
    """Of the augmented copy that a row stands for; 0 of the utterance itself."""
    return int(row.get(COPY, 0))


def _merged(corpora: Iterable[list[ByName]]) -> list[ByName]:
    """Of all corpora the utterances, and each of their copies in turn."""
    return [
        {name: values for of in together for name, values in of.items()}
        for together in zip_longest(*corpora, fillvalue=ByName())
    ] or [{}]


def _by_copy(ids: list[str], values: Sequence[np.ndarray]) -> list[ByName]:
    """What there is of the utterances, and of each of their copies in turn."""
    return [
        dict(zip(ids, values[start : start + len(ids)]))
        for start in range(0, len(values), len(ids) or 1)
    ]


def _read(modality: str, corpus: str, sha256: str) -> list[ByName]:
    """The features of the utterances of a corpus, and of each copy in turn."""
    path = features_path(modality, corpus)
    _check_sha256(path, sha256)
    with open_arrays(path, f"{modality} features") as file:
        pooled = list(file["pooled"][...]) if "pooled" in file else []
        if pooled and modality == "visual":
            pooled = [frames[ok] for frames, ok in zip(pooled, cycle(file["ok"][...]))]
        found = _by_copy(decode_ids(file["ids"][...]), pooled)
    pairs = [pair for of in found for pair in of.items()]
    bad = [name for name, values in pairs if not np.isfinite(values).all()]
    if bad:
        raise UserError(
            f"{path}: the {modality} features of {len(bad)} of {len(pairs)} utterances are not "
            f"finite, first those of {bad[0]}; delete it and run dvc repro"
        )
    return found


def _ragged(view: str, corpus: str, sha256: str) -> list[ByName]:
    """The sequences of the utterances of a corpus, and of each copy in turn."""
    mels = view == "mels"
    path = mels_path(corpus) if mels else features_path(view, corpus)
    _check_sha256(path, sha256)
    with open_arrays(path, "mels" if mels else f"{view} features") as file:
        if "values" not in file:
            return []
        values, ends = file["values"][...], file["offsets"][...]
        parts = [values[start:end] for start, end in pairwise(ends)]
        return _by_copy(decode_ids(file["ids"][...]), parts)


def _check_sha256(path: Path, sha256: str) -> None:
    if not has_sha256(path, sha256):
        raise UserError(f"{path}: is not the file that data/split.json names; dvc repro")


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
