"""Split: the role of every face and every voice in every fold.

In:  data/manifest/, data/features/, data/skipped/ of the corpora in `visual` and `acoustic`
Out: data/split.csv    modality, id, speaker, emotion, fold_0, fold_1, ...: train, test or out
     data/split.json   what was split: corpora, protocol, backbone, counts, what was left out, and
                       the SHA-256 of the feature files
Paper: Section 3.2.

train and evaluate depend on these two small files and not on the folder data/features, so that a
corpus which is on disk but not chosen changes nothing for them; the SHA-256 stands for the rest.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stages.arrays import decode_ids, open_arrays, read_settings
from stages.command import run
from stages.failures import UserError
from stages.files import file_sha256, read_table, write_json, write_table
from stages.params import load
from stages.protocols import (
    OUT,
    TEST,
    TRAIN,
    Rows,
    require_classes,
    take,
    test_folds,
    tested_with_trained_face,
    visual_roles,
)
from stages.skips import EXCLUDED_BY_RULE, table_path


def usable(corpus: str, modality: str) -> Rows:
    """Manifest rows of a corpus that have features in a modality, sorted by id.

    Raises:
        UserError: there is none.
    """
    with open_arrays(feature_path(corpus), "features") as features:
        ids = set(decode_ids(features[f"{modality}_ids"][...]))
    rows = [row for row in read_table(Path(f"data/manifest/{corpus}.csv")) if row["id"] in ids]
    if not rows:
        raise UserError(f"{feature_path(corpus)}: no {modality} features; drop it from params.yaml")
    return [{"modality": modality, **row} for row in rows]


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


def assign_roles(faces: Rows, voices: Rows, protocol: str, folds: int, seed: int) -> Rows:
    """Faces and voices with a column fold_k each, which holds their role in fold k."""
    emotions = [row["emotion"] for row in voices]
    fold_of = test_folds(protocol, emotions, [row["speaker"] for row in voices], folds, seed)
    columns: list[list[str]] = []
    for fold in range(folds):
        heard = [TEST if own == fold else TRAIN for own in fold_of]
        test_speakers = {row["speaker"] for row, role in zip(voices, heard) if role == TEST}
        seen = visual_roles(protocol, [row["speaker"] for row in faces], test_speakers)
        columns.append(seen + heard)
    return [
        {**row, **{f"fold_{fold}": column[i] for fold, column in enumerate(columns)}}
        for i, row in enumerate(faces + voices)
    ]


def left_out(visual: list[str], acoustic: str) -> dict[str, dict[str, Any]]:
    """Counts of the skip tables by corpus, stage and code, failures and rules apart."""
    counts: dict[str, dict[str, Any]] = {"skipped": {}, "excluded": {}}
    stages = {(corpus, "frames") for corpus in visual} | {(acoustic, "mels")}
    stages |= {(corpus, "manifest") for corpus in [*visual, acoustic]}
    for corpus, stage in sorted(stages):
        codes = Counter(row["code"] for row in read_table(table_path(corpus, stage)))
        for code, count in sorted(codes.items()):
            kind = "excluded" if code in EXCLUDED_BY_RULE else "skipped"
            counts[kind].setdefault(corpus, {}).setdefault(stage, {})[code] = count
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
    params = load(
        "visual", "acoustic", "protocol", "folds", "seed", "shuffle_labels", "allow_missing_classes"
    )
    folds = params["folds"]
    faces = [row for corpus in params["visual"] for row in usable(corpus, "visual")]
    voices = usable(params["acoustic"], "acoustic")
    if params["shuffle_labels"]:
        relabelled = shuffled_labels(faces + voices, params["seed"])
        faces, voices = relabelled[: len(faces)], relabelled[len(faces) :]
    rows = assign_roles(faces, voices, params["protocol"], folds, params["seed"])
    require_classes(rows, folds, params["allow_missing_classes"])

    corpora = list(dict.fromkeys([*params["visual"], params["acoustic"]]))
    backbone = one_backbone(corpora)
    seen_in_training = tested_with_trained_face(rows, folds)
    write_json(
        Path("data/split.json"),
        {
            "visual": params["visual"],
            "acoustic": params["acoustic"],
            "protocol": params["protocol"],
            "folds": folds,
            "shuffle_labels": params["shuffle_labels"],
            "backbone": backbone["backbone"],
            "weights": backbone["weights"],
            "weights_source": backbone["weights_source"],
            "n_visual": len(faces),
            "n_acoustic": len(voices),
            "n_test_with_trained_face": seen_in_training,
            **left_out(params["visual"], params["acoustic"]),
            "features_sha256": {corpus: file_sha256(feature_path(corpus)) for corpus in corpora},
        },
    )
    columns = ["modality", "id", "speaker", "emotion", *(f"fold_{fold}" for fold in range(folds))]
    narrow = ({name: row[name] for name in columns} for row in rows)
    write_table(Path("data/split.csv"), columns, narrow)
    outs = sum(row[f"fold_{fold}"] == OUT for row in rows for fold in range(folds))
    print(
        f"split: {len(faces)} clips with faces and {len(voices)} voices in {folds} folds, "
        f"protocol {params['protocol']}; {outs} roles out"
    )
    if seen_in_training:
        print(
            f"split: the faces of {seen_in_training} of {len(voices)} test utterances are trained "
            f"on, as protocol {params['protocol']} has it"
        )


if __name__ == "__main__":
    run(main)
