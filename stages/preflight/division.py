"""Whether the samples can be divided as params.yaml has it, by what the corpora list alone.

Which clips cannot be used shows only when they are decoded, and which are copies by their features.
All else that would stop the stages split and train for their roles is known before that.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stages.corpora.emotions import task_classes
from stages.runtime.errors import UserError
from stages.splits.dataset import bank_candidates, select_rows
from stages.splits.leaks import check_faces_at_test
from stages.splits.protocols import TRAIN, VALIDATION, Rows, assign_roles, check_classes
from stages.splits.samples import Pairs, choose, shared_classes

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
    test: str
    acoustic_only: bool
    protocol: str
    folds: int
    train_share: float
    validation: float
    duplicates: str
    shuffle_labels: bool
    classes: str | Sequence[str]
    allow_missing_classes: bool
    seed: int
    selection: str
    inference: str
    cross_attention: bool
    system: str
    test_modalities: str | Sequence[str]

    @property
    def heard(self) -> list[str]:
        """The corpora of the voices: the one that trains, and another that is tested."""
        return [self.acoustic, self.test] if self.test else [self.acoustic]


def division_problems(division: Division, listed: Mapping[str, Rows]) -> list[str]:
    """Why the samples cannot be divided so, a line each; [] where they can.

    Args:
        listed: the rows of the manifest, sorted by id, of every chosen corpus.
    """
    corpora = {"visual": division.visual, "acoustic": division.heard}
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

    try:
        classes = classes_of(division, rows)
    except UserError as error:
        return [str(error)]
    allow = division.allow_missing_classes
    for modality in needed:
        present = {row["emotion"] for row in rows[modality]}
        absent = [emotion for emotion in classes if emotion not in present]
        if absent and (not allow or not present.intersection(classes)):
            problems.append(
                f"params.yaml: {modality}: {', '.join(corpora[modality])} has no "
                f"{CALLED[modality]} of {', '.join(absent)}; choose other corpora or classes, or, "
                "where others remain, set allow_missing_classes: true"
            )
    if not all(any(row["emotion"] in classes for row in rows[modality]) for modality in needed):
        return problems
    known = [row for found in listed.values() for row in found]
    # What is absent everywhere is said already.
    division = division._replace(allow_missing_classes=allow or bool(problems))
    return problems + role_problems(division, rows, known, {"visual": [], "acoustic": []})


def classes_of(division: Division, rows: Mapping[str, Rows]) -> tuple[str, ...]:
    """The emotions of the task; see `stages.splits.samples.shared_classes`."""
    return shared_classes(rows["acoustic"], division.test, task_classes(division.classes))


def role_problems(
    division: Division, rows: Mapping[str, Rows], known: Rows, equal: Mapping[str, Pairs]
) -> list[str]:
    """Why these samples cannot be given roles, a line each; [] where they can.

    Args:
        rows: by modality, with samples of each that is needed.
        known: the rows of all manifests.
        equal: the samples, by modality, that are known to be the same, which features alone tell.
    """
    problems = []
    classes = classes_of(division, rows)
    try:
        drop = division.duplicates == "drop"
        chosen = choose(rows, known, equal, division.protocol, drop, classes, division.test)
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
            division.test,
            division.train_share,
        )
        folds = sum(name.startswith("fold_") for name in roles[0])
        # Who gets a shuffled label is not known here.
        allow = division.allow_missing_classes or bool(problems) or division.shuffle_labels
        check_classes(roles, folds, allow, division.acoustic_only, classes)
    except UserError as error:
        return [*problems, str(error)]
    return [*problems, *_unusable_folds(division, roles, range(folds))]


def _unusable_folds(division: Division, roles: Rows, folds: Sequence[int]) -> list[str]:
    """What the stage train would stop for; other systems than FDAN need no more than voices."""
    problems: list[str] = []
    if "visual" in division.test_modalities:
        try:
            check_faces_at_test(roles, len(folds))
        except UserError as error:
            problems.append(str(error))
    if division.system != "fdan":
        return problems
    chooses = division.selection == "validation"
    attends = division.cross_attention and division.inference != "none"
    needs_bank = attends and not division.acoustic_only
    heard = ["acoustic"] if division.acoustic_only else ["visual", "acoustic"]

    def choosable(fold: int) -> bool:
        """Whether a validation voice has an emotion that is trained."""
        trained = {row["emotion"] for of in heard for row in select_rows(roles, of, fold, TRAIN)}
        validated = select_rows(roles, "acoustic", fold, VALIDATION)
        return any(row["emotion"] in trained for row in validated)

    unchosen = [k for k in folds if chooses and not choosable(k)]
    if unchosen:
        problems.append(
            "params.yaml: selection: no validation voice to choose the epoch by in fold "
            f"{', '.join(map(str, unchosen))}; set selection: last"
        )
    without_bank = [k for k in folds if needs_bank and not bank_candidates(roles, k)]
    if without_bank:
        problems.append(
            "params.yaml: folds: the utterance of every face is tested or validated in fold "
            f"{', '.join(map(str, without_bank))}; choose more folds, or inference: none"
        )
    return problems
