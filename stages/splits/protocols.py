"""Protocols: which utterances train, which validate and which test, in every fold.

Paper: Section 3.2, "we selected 8/10 speech samples of each emotional categories and all visual
samples for training, and the remaining 2/10 speech samples for testing". That is protocol "paper"
with `folds: 5`, done five times, so that every acoustic sample is tested once. In it the visual
samples of test utterances train; the other protocols keep them out:

- "paper": folds with equally many utterances of each emotion (scikit-learn's StratifiedKFold);
- "speaker": no speaker is both in training and test (GroupKFold);
- "sentence": no sentence is, and the emotions are spread evenly (StratifiedGroupKFold);
- "speaker_sentence": both, in folds x folds folds; what shares only one of the two with the test
  part is left out of that fold;
- "official": the corpus' own split, one fold.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError

if TYPE_CHECKING:
    from sklearn.model_selection import BaseCrossValidator

Rows = list[dict[str, str]]
TRAIN, VALIDATION, TEST, OUT = "train", "validation", "test", "out"
OFFICIAL = {"train": TRAIN, "dev": VALIDATION, "test": TEST}
SPEAKER_DISJOINT = ("speaker", "speaker_sentence")
SENTENCE_DISJOINT = ("sentence", "speaker_sentence")


def base_corpus(utterance_id: str) -> str:
    """The corpus of an id without the suffix of its variants (ravdess for ravdess_grey)."""
    return utterance_id.split("/", 1)[0].split("_")[0]


def recording_id(utterance_id: str) -> str:
    """The recording behind an id, the same for variants of a corpus (ravdess, ravdess_grey)."""
    return f"{base_corpus(utterance_id)}/{utterance_id.split('/', 1)[1]}"


def sentence_id(row: dict[str, str]) -> str:
    """The sentence of a row, unique over all corpora; "" where the corpus does not tell it."""
    return f"{base_corpus(row['id'])}/{row['sentence']}" if row["sentence"] else ""


def assign_roles(
    visual: Rows, acoustic: Rows, protocol: str, folds: int, validation: float, seed: int
) -> Rows:
    """All rows, with a column fold_k each that holds their role in fold k.

    Args:
        validation: share of the acoustic training samples of each emotion that validate; the
            official split has a part of its own for that.

    Raises:
        UserError: the protocol cannot be carried out with these folds or utterances.
    """
    columns = []
    for fold, roles in enumerate(acoustic_roles(protocol, acoustic, folds, seed)):
        if protocol != "official":
            rng = np.random.default_rng([seed, fold])
            roles = with_validation(roles, [row["emotion"] for row in acoustic], validation, rng)
        columns.append(visual_roles(protocol, visual, acoustic, roles) + roles)
    return [
        {**row, **{f"fold_{fold}": column[i] for fold, column in enumerate(columns)}}
        for i, row in enumerate(visual + acoustic)
    ]


def acoustic_roles(protocol: str, rows: Rows, folds: int, seed: int) -> list[list[str]]:
    """Roles train, test or out (official: validation too) of the rows, a list for each fold."""
    if protocol == "official":
        return [_official_roles(rows, folds)]
    if folds < 2:
        raise UserError(f"params.yaml: folds: protocol {protocol} needs at least 2, not {folds}")

    # Loaded here, as the stages that only read roles need not wait for it.
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    emotions = [row["emotion"] for row in rows]
    if protocol != "speaker":
        _check_folds(folds, max(Counter(emotions).values()), "utterances of any emotion")
    if protocol == "paper":
        emotion_of = {recording_id(row["id"]): row["emotion"] for row in rows}
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        fold_of = dict(zip(emotion_of, _test_folds(splitter, list(emotion_of.values()))))
        tested = [fold_of[recording_id(row["id"])] for row in rows]
        return [[TEST if own == fold else TRAIN for own in tested] for fold in range(folds)]

    divisions = []  # for each thing that is kept apart, the part of every row
    if protocol in SPEAKER_DISJOINT:
        speakers = [row["speaker"] for row in rows]
        _check_folds(folds, len(set(speakers)), "speakers of the voices")
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
        divisions.append(_test_folds(splitter, emotions, speakers))
    if protocol in SENTENCE_DISJOINT:
        sentences = _sentences(rows)
        _check_folds(folds, len(set(sentences)), "sentences of the voices")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        divisions.append(_test_folds(splitter, emotions, sentences))
    parts = np.transpose(divisions)
    tests = np.ndindex(*[folds] * len(divisions))
    return [[_disjoint_role(own == test) for own in parts] for test in tests]


def with_validation(
    roles: list[str], emotions: Sequence[str], share: float, rng: np.random.Generator
) -> list[str]:
    """Let a random `share` of the training samples of each emotion validate instead.

    Rounded, but at least one of an emotion with two or more, and never all; none if share is 0.
    """
    roles = list(roles)
    if share == 0:
        return roles
    for emotion in sorted(set(emotions)):
        train = [i for i, role in enumerate(roles) if role == TRAIN and emotions[i] == emotion]
        count = min(max(1, round(share * len(train))), len(train) - 1)
        if count > 0:
            for i in rng.choice(train, count, replace=False):
                roles[i] = VALIDATION
    return roles


def visual_roles(
    protocol: str, visual: Rows, acoustic: Rows, acoustic_role: Sequence[str]
) -> list[str]:
    """Roles of the visual samples, train or out, in a fold with these roles of the acoustic ones.

    In "paper" all train. Elsewhere those of the test and validation utterances stay out, and with
    them those of the test speakers, of the test sentences, or of the corpus' own test and dev
    part, as the protocol has it.
    """
    if protocol == "paper":
        return [TRAIN] * len(visual)
    tested = [row for row, role in zip(acoustic, acoustic_role) if role == TEST]
    held_out = {
        recording_id(row["id"])
        for row, role in zip(acoustic, acoustic_role)
        if role in (TEST, VALIDATION)
    }
    speakers = {row["speaker"] for row in tested if protocol in SPEAKER_DISJOINT}
    sentences = {sentence_id(row) for row in tested if protocol in SENTENCE_DISJOINT}

    def role(row: dict[str, str]) -> str:
        outside = protocol == "official" and row["split"] not in ("", "train")
        shared = row["speaker"] in speakers or sentence_id(row) in sentences
        return OUT if outside or shared or recording_id(row["id"]) in held_out else TRAIN

    return [role(row) for row in visual]


def check_classes(rows: Rows, folds: int, allow_missing: bool = False) -> None:
    """Check that every fold trains and tests every emotion (with `allow_missing`, any emotion).

    Raises:
        UserError: names the fold and what it lacks.
    """
    for fold in range(folds):
        for modality, role in [("visual", TRAIN), ("acoustic", TRAIN), ("acoustic", TEST)]:
            present = {
                row["emotion"]
                for row in rows
                if row["modality"] == modality and row[f"fold_{fold}"] == role
            }
            missing = [emotion for emotion in EMOTIONS if emotion not in present]
            if not present or (missing and not allow_missing):
                raise UserError(
                    f"params.yaml: folds: fold {fold} has no {modality} {role} sample of "
                    f"{', '.join(missing)}; choose fewer folds or other corpora, or, where "
                    "other emotions remain, set allow_missing_classes: true"
                )


def tested_with_visual_training(rows: Rows, folds: int) -> int:
    """How many test utterances have the visual samples of their own recording in training."""
    count = 0
    for column in (f"fold_{fold}" for fold in range(folds)):
        trained = {
            recording_id(row["id"])
            for row in rows
            if row["modality"] == "visual" and row[column] == TRAIN
        }
        count += sum(
            row["modality"] == "acoustic"
            and row[column] == TEST
            and recording_id(row["id"]) in trained
            for row in rows
        )
    return count


def _official_roles(rows: Rows, folds: int) -> list[str]:
    if folds != 1:
        raise UserError(f"params.yaml: folds: protocol official has one fold, not {folds}; set 1")
    for row in rows:
        if row["split"] not in OFFICIAL:
            raise UserError(
                f"params.yaml: protocol: {row['id']} has no official split ({row['split']!r}); "
                "choose another protocol or corpus"
            )
    return [OFFICIAL[row["split"]] for row in rows]


def _sentences(rows: Rows) -> list[str]:
    for row in rows:
        if not row["sentence"]:
            raise UserError(
                f"params.yaml: protocol: {row['id']} has no sentence in its corpus; choose "
                "another protocol or corpus"
            )
    return [sentence_id(row) for row in rows]


def _check_folds(folds: int, available: int, what: str) -> None:
    if folds > available:
        raise UserError(
            f"params.yaml: folds: {folds} is more than the {available} {what}; this protocol "
            f"needs folds <= {available}"
        )


def _test_folds(
    splitter: "BaseCrossValidator", emotions: Sequence[str], groups: Sequence[str] | None = None
) -> np.ndarray:
    """The fold, int [n], in which the splitter tests each sample."""
    fold_of = np.empty(len(emotions), int)
    with warnings.catch_warnings(action="ignore"):  # emotions too few for all folds: check_classes
        for fold, (_, test) in enumerate(splitter.split(emotions, emotions, groups)):
            fold_of[test] = fold
    return fold_of


def _disjoint_role(shared: np.ndarray) -> str:
    """The role of what shares these of speaker and sentence, bool [1 or 2], with the test part."""
    return TEST if shared.all() else OUT if shared.any() else TRAIN
