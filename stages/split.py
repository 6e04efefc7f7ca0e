"""Split: the role of every face and every voice in every fold.

In:  data/manifest/, data/features/, data/skipped/ of the corpora in `visual` and `acoustic`
Out: data/split.csv    modality, id, speaker, sentence, emotion, fold_0, fold_1, ...: train,
                       validation, test or out
     data/split.json   what was split: corpora, protocol, backbone, counts, what was left out, and
                       the SHA-256 of the feature files
Paper: Section 3.2.
Run: dvc repro split, or python -m stages.split

train and evaluate depend on these two small files and not on the folder data/features, so that a
corpus which is on disk but not chosen changes nothing for them; the SHA-256 stands for the rest.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import file_sha256, read_table, write_json, write_table
from stages.io.skips import EXCLUDED_BY_RULE, table_path, uneven_among, warn_of_uneven
from stages.runtime.command import run_stage
from stages.runtime.errors import UserError
from stages.runtime.params import read_params
from stages.splits.leaks import refuse_leaks, twins
from stages.splits.protocols import (
    OUT,
    VALIDATION,
    Rows,
    assign_roles,
    require_classes,
    take,
    tested_with_trained_face,
)


def usable(corpus: str, modality: str) -> Rows:
    """Manifest rows of a corpus that have features in a modality, sorted by id.

    Raises:
        UserError: there is none.
    """
    with open_arrays(feature_path(corpus), "features") as features:
        ids = set(decode_ids(features[f"{modality}_ids"][...]))
    rows = [row for row in read_manifest(corpus) if row["id"] in ids]
    if not rows:
        raise UserError(f"{feature_path(corpus)}: no {modality} features; drop it from params.yaml")
    return [{"modality": modality, **row} for row in rows]


def read_manifest(corpus: str) -> Rows:
    """The rows of a corpus' manifest.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    columns = ["id", "speaker", "emotion", "sentence", "split", "video", "audio"]
    return read_table(Path(f"data/manifest/{corpus}.csv"), columns)


def feature_path(corpus: str) -> Path:
    """Where the features of a corpus lie."""
    return Path(f"data/features/{corpus}.h5")


def shuffled_labels(rows: Rows, seed: int) -> Rows:
    """The same rows with the emotions dealt out anew among the utterances: a test of chance.

    A face and a voice of one recording keep sharing their label.
    """
    emotion_of = {take(row["id"]): row["emotion"] for row in rows}
    takes = sorted(emotion_of)
    emotions = np.random.default_rng(seed).permutation([emotion_of[item] for item in takes])
    shuffled = dict(zip(takes, emotions.tolist()))
    return [{**row, "emotion": shuffled[take(row["id"])]} for row in rows]


def fingerprints(rows: Rows, modality: str) -> dict[str, bytes]:
    """SHA-256 of the features of each utterance, those of the official test part first."""
    rows = sorted(rows, key=lambda row: {"test": 0, "dev": 1}.get(row["split"], 2))
    of_corpus: dict[str, dict[str, bytes]] = {}
    for corpus in {row["id"].split("/")[0] for row in rows}:
        with open_arrays(feature_path(corpus), "features") as features:
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
    pairs = twins(fingerprints(rows, modality))
    if pairs and not drop:
        kept, copy = pairs[0]
        raise UserError(
            f"{feature_path(copy.split('/')[0])}: {copy} is the same recording as {kept} (and "
            f"{len(pairs) - 1} more such {modality} pairs); mend the corpus, or set "
            "duplicates: drop in params.yaml to keep one of each"
        )
    copies = {copy: kept for kept, copy in pairs}
    return [row for row in rows if row["id"] not in copies], copies


def left_out(visual: list[str], acoustic: str) -> dict[str, dict[str, Any]]:
    """Counts of the skip tables by corpus, stage, code and emotion, failures and rules apart.

    Prints which emotions a stage skipped far more often than others, and returns the share of them
    that it skipped as `skipped_unevenly`, by corpus, stage and emotion.
    """
    counts: dict[str, dict[str, Any]] = {"skipped": {}, "excluded": {}, "skipped_unevenly": {}}
    # What each stage works on: the utterances with a path in a column, or all.
    stages = {(corpus, "frames", "video") for corpus in visual} | {(acoustic, "mels", "audio")}
    stages |= {(corpus, "manifest", "id") for corpus in [*visual, acoustic]}
    for corpus, stage, column in sorted(stages):
        skips = read_table(table_path(corpus, stage), ["id", "emotion", "code"])
        reasons = Counter((row["code"], row["emotion"]) for row in skips)
        for (code, emotion), count in sorted(reasons.items()):
            kind = "excluded" if code in EXCLUDED_BY_RULE else "skipped"
            of_stage = counts[kind].setdefault(corpus, {}).setdefault(stage, {})
            of_stage.setdefault(code, {})[emotion] = count
        utterances = [row for row in read_manifest(corpus) if row[column]]
        uneven = uneven_among(skips, utterances)
        if uneven:
            shares = {item.emotion: item.share for item in uneven}
            counts["skipped_unevenly"].setdefault(corpus, {})[stage] = shares
            warn_of_uneven(f"split: {stage}@{corpus}", uneven)
    return counts


def one_backbone(corpora: list[str]) -> dict[str, Any]:
    """The settings that the features of all corpora share.

    Raises:
        UserError: they were made with different settings.
    """
    settings = {}
    for corpus in corpora:
        with open_arrays(feature_path(corpus), "features") as features:
            settings[corpus] = read_settings(features)
    first = settings[corpora[0]]
    for corpus, other in settings.items():
        if other != first:
            raise UserError(
                f"{feature_path(corpus)}: made with {other}, {corpora[0]} with {first}; dvc repro"
            )
    return first


def main() -> None:
    params = read_params()
    drop, protocol = params.duplicates == "drop", params.protocol
    seen = [row for corpus in params.visual for row in usable(corpus, "visual")]
    heard = usable(params.acoustic, "acoustic")
    faces, face_copies = without_duplicates(seen, "visual", drop)
    voices, voice_copies = without_duplicates(heard, "acoustic", drop)
    # The face of a voice that is left out goes with it: it shows the voice that is kept.
    copied = {take(copy): kept for copy, kept in voice_copies.items()}
    gone = [row["id"] for row in faces if take(row["id"]) in copied]
    face_copies |= {name: copied[take(name)] for name in gone}
    faces = [row for row in faces if row["id"] not in face_copies]
    if params.shuffle_labels:
        relabelled = shuffled_labels(faces + voices, params.seed)
        faces, voices = relabelled[: len(faces)], relabelled[len(faces) :]
    rows = assign_roles(faces, voices, protocol, params.folds, params.validation, params.seed)
    folds = sum(name.startswith("fold_") for name in rows[0])
    require_classes(rows, folds, params.allow_missing_classes)
    refuse_leaks(rows, protocol, folds)

    corpora = list(dict.fromkeys([*params.visual, params.acoustic]))
    backbone = one_backbone(corpora)
    seen_in_training = tested_with_trained_face(rows, folds)
    write_json(
        Path("data/split.json"),
        {
            "visual": params.visual,
            "acoustic": params.acoustic,
            "protocol": protocol,
            "folds": folds,
            "shuffle_labels": params.shuffle_labels,
            "backbone": backbone["backbone"],
            "weights": backbone["weights"],
            "weights_source": backbone["weights_source"],
            "precision": backbone["precision"],
            "n_visual": len(faces),
            "n_acoustic": len(voices),
            "n_test_with_trained_face": seen_in_training,
            "duplicates": {"visual": face_copies, "acoustic": voice_copies},
            **left_out(params.visual, params.acoustic),
            "features_sha256": {corpus: file_sha256(feature_path(corpus)) for corpus in corpora},
        },
    )
    columns = ["modality", "id", "speaker", "sentence", "emotion"]
    columns += [f"fold_{fold}" for fold in range(folds)]
    narrow = ({name: row[name] for name in columns} for row in rows)
    write_table(Path("data/split.csv"), columns, narrow)
    roles = Counter(row[f"fold_{fold}"] for row in rows for fold in range(folds))
    print(
        f"split: {len(faces)} clips with faces and {len(voices)} voices in {folds} folds, "
        f"protocol {protocol}; {roles[VALIDATION] / folds:g} voices a fold validate, "
        f"{roles[OUT]} roles out"
    )
    if voice_copies or face_copies:
        print(
            f"split: {len(voice_copies)} voices and {len(face_copies)} faces left out as copies "
            "of others (data/split.json, duplicates)"
        )
    if seen_in_training:
        print(
            f"split: the faces of {seen_in_training} of {len(voices)} test utterances are trained "
            f"on, as protocol {protocol} has it"
        )


if __name__ == "__main__":
    run_stage(main, __doc__)
