"""Split: the role of every visual and every acoustic sample in every fold.

In:  data/manifest/, data/mels/, data/features/, data/skipped/ of the corpora in `visual`,
     `acoustic` and `test`, data/transcripts/ of the last two
Out: data/split.csv    modality, id, session, speaker, sentence, dialogue, turn, emotion, carried
                       (what copies add to it), fold_0, fold_1, ...: train, validation, test or out
     data/split.json   what was split: corpora, protocol, encoders, counts, what was left out, and
                       the SHA-256 of the feature files; `classes` where they are not all, `test`
                       where another corpus is tested, and `train_share` where it is not 1
Paper: Section 3.2.
Run: dvc repro split, or python -m stages.split

train and evaluate depend on these two small files and not on the folder data/features, so that a
corpus which is on disk but not chosen changes nothing for them; the SHA-256 stands for the rest.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from stages.corpora.emotions import EMOTIONS, task_classes
from stages.io.files import file_sha256, read_table, write_json, write_table
from stages.io.skips import (
    EXCLUDED_BY_RULE,
    NOT_IN_CLASSES,
    table_path,
    uneven_among,
    warn_of_uneven,
)
from stages.preflight.text_leak import text_leak
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import (
    SPLIT,
    SPLIT_SUMMARY,
    features_path,
    mels_path,
    transcripts_path,
)
from stages.splits.dataset import SPLIT_COLUMNS
from stages.splits.leaks import check_leaks
from stages.splits.protocols import (
    OUT,
    SAME_RECORDING,
    VALIDATION,
    Rows,
    assign_roles,
    check_classes,
    marks,
    recording_id,
    tested_with_visual_training,
    validated_by,
)
from stages.splits.samples import (
    choose_samples,
    read_manifest,
    shared_classes,
    shared_settings,
    usable_voices,
)
from stages.splits.suspects import suspected_copies, tested_with_suspected_copy
from stages.splits.texts import tested_with_trained_text


def shuffled_labels(rows: Rows, seed: int) -> Rows:
    """The same rows with the emotions dealt out anew among the utterances: a test of chance.

    The visual and the acoustic sample of one recording, or of its copies, keep sharing their label.
    """
    acoustic = {recording_id(row["id"]) for row in rows if row["modality"] == "acoustic"}
    # A visual sample goes by the acoustic one of its recording, else by itself, named first.
    names = [[name for _, name in marks(row, ["recording"])] for row in rows]
    chosen = [next((name for name in found if name in acoustic), found[0]) for found in names]
    emotion_of = {name: row["emotion"] for name, row in zip(chosen, rows)}
    recordings = sorted(emotion_of)
    emotions = np.random.default_rng(seed).permutation([emotion_of[item] for item in recordings])
    shuffled = dict(zip(recordings, emotions.tolist()))
    return [{**row, "emotion": shuffled[name]} for name, row in zip(chosen, rows)]


def left_out(
    visual: list[str],
    acoustic: list[str],
    classes: Collection[str],
    others: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Counts of what has no part by corpus, stage, code and emotion, failures and rules apart.

    Prints which of the classes a stage skipped far more often than others, and returns the share of
    them that it skipped as `skipped_unevenly`, by corpus, stage and emotion.

    Args:
        classes: the emotions of the task.
        others: the utterances that could be used but for their emotion, which is none of these.
    """
    counts: dict[str, dict[str, Any]] = {"skipped": {}, "excluded": {}, "skipped_unevenly": {}}
    # What each stage works on: the utterances with a path in a column, or all.
    stages = {(corpus, "frames", "video") for corpus in visual}
    stages |= {(corpus, "mels", "audio") for corpus in acoustic}
    stages |= {(corpus, "manifest", "id") for corpus in [*visual, *acoustic]}
    for corpus, stage, column in sorted(stages):
        skips = read_table(table_path(corpus, stage), ["id", "emotion", "code"])
        reasons = Counter((row["code"], row["emotion"]) for row in skips)
        for (code, emotion), count in sorted(reasons.items()):
            kind = "excluded" if code in EXCLUDED_BY_RULE else "skipped"
            of_stage = counts[kind].setdefault(corpus, {}).setdefault(stage, {})
            of_stage.setdefault(code, {})[emotion] = count
        utterances = [row for row in read_manifest(corpus) if row[column]]
        of_task = [
            [row for row in rows if row["emotion"] in classes] for rows in (skips, utterances)
        ]
        uneven = uneven_among(*of_task)
        if uneven:
            shares = {item.emotion: item.share for item in uneven}
            counts["skipped_unevenly"].setdefault(corpus, {})[stage] = shares
            warn_of_uneven(f"split: {stage}@{corpus}", uneven)
    named = Counter((name.split("/")[0], emotion) for name, emotion in others.items())
    for (corpus, emotion), count in sorted(named.items()):
        of_split = counts["excluded"].setdefault(corpus, {}).setdefault("split", {})
        of_split.setdefault(NOT_IN_CLASSES, {})[emotion] = count
    return counts


def main() -> None:
    """Write the role of every sample in every fold, and what was split."""
    params = read_params()
    protocol = params.protocol
    drop, acoustic_only = params.duplicates == "drop", params.acoustic_only
    heard = [params.acoustic, params.test] if params.test else [params.acoustic]
    asked = task_classes(params.classes)
    classes = shared_classes(usable_voices(heard), params.test, asked)
    chosen = choose_samples(
        params.visual, heard, protocol, drop, acoustic_only, classes, params.test
    )
    others = chosen["visual"].others | chosen["acoustic"].others
    visual, acoustic = chosen["visual"].rows, chosen["acoustic"].rows
    copies = {modality: found.copies for modality, found in chosen.items()}
    contradicting = {modality: found.contradicting for modality, found in chosen.items()}
    if params.shuffle_labels:
        samples = shuffled_labels(visual + acoustic, params.seed)
        visual, acoustic = samples[: len(visual)], samples[len(visual) :]
    rows = assign_roles(
        visual,
        acoustic,
        protocol,
        params.folds,
        params.validation,
        params.seed,
        params.test,
        params.train_share,
    )
    folds = [name for name in rows[0] if name.startswith("fold_")]
    check_classes(rows, len(folds), params.allow_missing_classes, acoustic_only, classes)
    validation_unit = validated_by(rows, len(folds))
    check_leaks(rows, protocol, len(folds), validation_unit)

    corpora = list(dict.fromkeys([*params.visual, *heard]))
    features_of = {"visual": params.visual, "acoustic": heard, "linguistic": heard}
    encoders = {
        modality: shared_settings(modality, names)
        for modality, names in features_of.items()
        if modality != "visual" or not acoustic_only
    }
    leaks = False
    if encoders["linguistic"]["name"] == "none":
        del encoders["linguistic"], features_of["linguistic"]
    else:
        leaks = any([text_leak(corpus, params.allow_text_leak) for corpus in heard])
    texts = {
        row["id"]: row["text"]
        for corpus in heard
        for row in read_table(transcripts_path(corpus), ["id", "text"])
    }
    trained_faces = tested_with_visual_training(rows, len(folds))
    known = {row["id"]: set(marks(row, SAME_RECORDING)) for row in visual + acoustic}
    suspects = [
        pair
        for pair in suspected_copies(corpora, set(known))
        if known[pair[0]].isdisjoint(known[pair[1]])
    ]
    suspected = tested_with_suspected_copy(rows, suspects, len(folds))
    summary: dict[str, Any] = {
        "visual": params.visual,
        "acoustic": params.acoustic,
        "protocol": protocol,
        "folds": len(folds),
        "validated_by": validation_unit,
        "shuffle_labels": params.shuffle_labels,
        "encoders": encoders,
        "n_visual": len(visual),
        "n_acoustic": len(acoustic),
        "n_test_with_trained_face": trained_faces,
        "n_test_with_suspected_copy": suspected,
        "n_test_with_trained_text": tested_with_trained_text(rows, texts, len(folds)),
        "text_leak": leaks,
        "suspected_copies": suspects,
        "duplicates": copies,
        "contradicting": contradicting,
        **left_out(params.visual, heard, classes, others),
        "features_sha256": {
            modality: {corpus: file_sha256(features_path(modality, corpus)) for corpus in names}
            for modality, names in features_of.items()
        }
        | {"mels": {corpus: file_sha256(mels_path(corpus)) for corpus in heard}},
    }
    if params.test:
        summary["test"] = params.test
    if params.train_share < 1:
        summary["train_share"] = params.train_share
    if classes != EMOTIONS:
        summary["classes"] = classes
    write_json(SPLIT_SUMMARY, summary)
    columns = [*SPLIT_COLUMNS, *folds]
    write_table(SPLIT, columns, ({name: row[name] for name in columns} for row in rows))

    if params.test:
        print(f"split: trained on {params.acoustic}, tested on {params.test}")
    roles = Counter(row[fold] for row in rows for fold in folds)
    print(
        f"split: {len(visual)} visual and {len(acoustic)} acoustic samples in {len(folds)} folds, "
        f"protocol {protocol}; {roles[VALIDATION] / len(folds):g} acoustic samples per fold "
        f"validate, by {validation_unit}, {roles[OUT]} roles out"
    )
    if others:
        print(
            f"split: {len(others)} utterances left out, as they are of none of the classes "
            f"{', '.join(classes)}{' that both have' * (classes != asked)} (data/split.json, "
            "excluded)"
        )
    if any(copies.values()):
        print(
            f"split: {len(copies['acoustic'])} acoustic and {len(copies['visual'])} visual samples "
            "left out as copies of others (data/split.json, duplicates)"
        )
    if any(contradicting.values()):
        print(
            f"split: warning: {len(contradicting['acoustic'])} acoustic and "
            f"{len(contradicting['visual'])} visual samples left out, as their copies have other "
            "labels (data/split.json, contradicting)"
        )
    if suspects:
        pairs = ", ".join(f"{one} and {other}" for one, other in suspects[:5])
        print(
            f"split: warning: {len(suspects)} pairs sound like one recording encoded twice, of "
            f"{suspected} test utterances one is learned from: {pairs} (data/split.json, "
            "suspected_copies)"
        )
    if trained_faces:
        print(
            f"split: the faces of {trained_faces} of {len(acoustic)} test utterances are trained "
            f"on, as protocol {protocol} has it"
        )


if __name__ == "__main__":
    run_stage(main, __doc__)
