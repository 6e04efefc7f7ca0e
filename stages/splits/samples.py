"""Which samples there are to be split: utterances with features, each recording once."""

import hashlib
from typing import Any

from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_table
from stages.runtime.errors import UserError
from stages.runtime.paths import features_path, manifest_path
from stages.splits.leaks import find_duplicates
from stages.splits.protocols import Rows, recording_id


def choose_samples(
    visual_corpora: list[str], acoustic_corpus: str, drop: bool
) -> tuple[Rows, Rows, dict[str, dict[str, str]]]:
    """The visual and the acoustic samples, and the copies that are left out of each.

    Args:
        drop: leave out further copies of a recording, rather than refuse them.

    Returns:
        Rows of the manifests with their modality, sorted by id within a corpus; and by modality
        the id of each copy and of the sample that is kept in its place.

    Raises:
        UserError: a corpus has no features of a modality, or there are copies and `drop` is false.
    """
    visual = [row for corpus in visual_corpora for row in usable_rows(corpus, "visual")]
    visual, visual_copies = without_duplicates(visual, "visual", drop)
    acoustic = usable_rows(acoustic_corpus, "acoustic")
    acoustic, acoustic_copies = without_duplicates(acoustic, "acoustic", drop)
    # The face of a voice that is left out goes with it: it shows the voice that is kept.
    copied = {recording_id(copy): kept for copy, kept in acoustic_copies.items()}
    gone = [row["id"] for row in visual if recording_id(row["id"]) in copied]
    visual_copies |= {name: copied[recording_id(name)] for name in gone}
    visual = [row for row in visual if row["id"] not in visual_copies]
    return visual, acoustic, {"visual": visual_copies, "acoustic": acoustic_copies}


def usable_rows(corpus: str, modality: str) -> Rows:
    """Manifest rows of a corpus that have features in a modality, sorted by id.

    Raises:
        UserError: there is none.
    """
    with open_arrays(features_path(corpus), "features") as features:
        ids = set(decode_ids(features[f"{modality}_ids"][...]))
    rows = [row for row in read_manifest(corpus) if row["id"] in ids]
    if not rows:
        raise UserError(
            f"{features_path(corpus)}: no {modality} features; drop it from params.yaml"
        )
    return [{"modality": modality, **row} for row in rows]


def read_manifest(corpus: str) -> Rows:
    """The rows of a corpus' manifest.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    columns = ["id", "speaker", "emotion", "sentence", "split", "video", "audio"]
    return read_table(manifest_path(corpus), columns)


def fingerprints(rows: Rows, modality: str) -> dict[str, bytes]:
    """SHA-256 of the features of each utterance, those of the official test part first."""
    rows = sorted(rows, key=lambda row: {"test": 0, "dev": 1}.get(row["split"], 2))
    of_corpus: dict[str, dict[str, bytes]] = {}
    for corpus in {row["id"].split("/")[0] for row in rows}:
        with open_arrays(features_path(corpus), "features") as features:
            ids = decode_ids(features[f"{modality}_ids"][...])
            values = features[modality][...]
        of_corpus[corpus] = {
            name: hashlib.sha256(value.tobytes()).digest() for name, value in zip(ids, values)
        }
    return {row["id"]: of_corpus[row["id"].split("/")[0]][row["id"]] for row in rows}


def without_duplicates(rows: Rows, modality: str, drop: bool) -> tuple[Rows, dict[str, str]]:
    """The rows without further copies of a recording, and the copies: id left out, id kept.

    One recording under two ids could be tested and trained on.

    Raises:
        UserError: there are copies, and `drop` is false.
    """
    pairs = find_duplicates(fingerprints(rows, modality))
    if pairs and not drop:
        kept, copy = pairs[0]
        raise UserError(
            f"{features_path(copy.split('/')[0])}: {copy} is the same recording as {kept} (and "
            f"{len(pairs) - 1} more such {modality} pairs); fix the corpus, or set "
            "duplicates: drop in params.yaml to keep one of each"
        )
    copies = {copy: kept for kept, copy in pairs}
    return [row for row in rows if row["id"] not in copies], copies


def shared_settings(corpora: list[str]) -> dict[str, Any]:
    """The settings that the features of all corpora share.

    Raises:
        UserError: they were made with different settings.
    """
    settings = {}
    for corpus in corpora:
        with open_arrays(features_path(corpus), "features") as features:
            settings[corpus] = read_settings(features)
    first = settings[corpora[0]]
    for corpus, other in settings.items():
        if other != first:
            raise UserError(
                f"{features_path(corpus)}: made with {other}, {corpora[0]} with {first}; dvc repro"
            )
    return first
