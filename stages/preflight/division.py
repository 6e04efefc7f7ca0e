"""Whether the samples can be divided as params.yaml has it, by what the corpora list alone.

Which clips cannot be used shows only when they are decoded, and which are copies by their features.
All else that would stop the stages split and train for their roles is known before that.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError
from stages.splits.dataset import bank_candidates, select_rows
from stages.splits.protocols import VALIDATION, Rows, assign_roles, check_classes
from stages.splits.samples import Pairs, choose

# By modality: the column of the manifest that has its clips, and what a person calls a sample.
COLUMN = {"visual": "video", "acoustic": "audio"}
CALLED = {"visual": "faces", "acoustic": "voices"}
REMEDY = {
    "visual": "has video; drop it there, or set acoustic_only: true to train on voices alone",
    "acoustic": "has audio, which is what is tested; choose a corpus with speech",
}


class Division(NamedTuple):
    """The settings in params.yaml that the roles follow from, and those that need some of them."""

    visual: list[str]
    acoustic: str
    acoustic_only: bool
    protocol: str
    folds: int
    validation: float
    duplicates: str
    shuffle_labels: bool
    allow_missing_classes: bool
    seed: int
    selection: str
    inference: str
    cross_attention: bool


def division_problems(division: Division, listed: Mapping[str, Rows]) -> list[str]:
    """Why the samples cannot be divided so, a line each; [] where they can.

    Args:
        listed: the rows of the manifest, sorted by id, of every chosen corpus.
    """
    corpora = {"visual": division.visual, "acoustic": [division.acoustic]}
    rows = {
        modality: [
            {"modality": modality, **row}
            for corpus in names
            for row in listed[corpus]
            if row[COLUMN[modality]]
        ]
        for modality, names in corpora.items()
    }
    needed = ["acoustic"] if division.acoustic_only else ["visual", "acoustic"]
    problems = [
        f"params.yaml: {modality}: no utterance of {corpus} {REMEDY[modality]}"
        for modality in needed
        for corpus in corpora[modality]
        if not any(row[COLUMN[modality]] for row in listed[corpus])
    ]
    if problems or not rows[needed[0]]:
        return problems

    allow = division.allow_missing_classes
    for modality in needed:
        present = {row["emotion"] for row in rows[modality]}
        absent = [emotion for emotion in EMOTIONS if emotion not in present]
        if absent and not allow:
            problems.append(
                f"params.yaml: {modality}: {', '.join(corpora[modality])} has no "
                f"{CALLED[modality]} of {', '.join(absent)}; choose other corpora, or set "
                "allow_missing_classes: true"
            )
    try:
        known = [row for found in listed.values() for row in found]
        equal: dict[str, Pairs] = {"visual": [], "acoustic": []}  # what features alone can tell
        drop = division.duplicates == "drop"
        chosen = choose(rows, known, equal, division.protocol, drop)
        rows = {modality: found.rows for modality, found in chosen.items()}
    except UserError as error:
        problems.append(str(error))
    try:
        roles = assign_roles(
            rows["visual"],
            rows["acoustic"],
            division.protocol,
            division.folds,
            division.validation,
            division.seed,
        )
        folds = sum(name.startswith("fold_") for name in roles[0])
        # What is absent everywhere is said already; who gets a shuffled label is not known here.
        allow = allow or bool(problems) or division.shuffle_labels
        check_classes(roles, folds, allow, division.acoustic_only)
    except UserError as error:
        return [*problems, str(error)]
    return [*problems, *_unusable_folds(division, roles, range(folds))]


def _unusable_folds(division: Division, roles: Rows, folds: Iterable[int]) -> list[str]:
    """What the stage train would stop for."""
    problems = []
    attends = division.cross_attention and division.inference != "none"
    for fold in folds:
        validated = select_rows(roles, "acoustic", fold, VALIDATION)
        if division.selection == "validation" and not validated:
            problems.append(
                f"params.yaml: selection: fold {fold} has no validation voice to choose the epoch "
                "by; set selection: last"
            )
        if attends and not division.acoustic_only and not bank_candidates(roles, fold):
            problems.append(
                f"params.yaml: folds: fold {fold} tests or validates the utterance of every face; "
                "choose more folds, or inference: none"
            )
    return problems
