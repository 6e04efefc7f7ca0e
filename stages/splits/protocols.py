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

The validation part of "speaker" and "speaker_sentence" is of speakers who do not train, as the test
part is, where enough speakers are left to train (MIN_SPEAKERS); else, and under the others, it is
drawn from all training utterances.
"""

import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
SAME_RECORDING = ("recording", "overlap")
MIN_SPEAKERS = 4  # that must train: to leave out one of fewer costs over a fifth of the voices
KINDS = (*SAME_RECORDING, "speaker", "sentence", "part")
Mark = tuple[str, str]  # one of KINDS, and a name


def base_corpus(utterance_id: str) -> str:
    """The corpus of an id without the suffix of its variants (ravdess for ravdess_grey)."""
    return utterance_id.split("/", 1)[0].split("_")[0]


def recording_id(utterance_id: str) -> str:
    """The recording behind an id, the same for variants of a corpus (ravdess, ravdess_grey)."""
    return f"{base_corpus(utterance_id)}/{utterance_id.split('/', 1)[1]}"


def sentence_id(row: dict[str, str]) -> str:
    """The sentence of a row, unique over all corpora; "" where the corpus does not tell it."""
    return f"{base_corpus(row['id'])}/{row['sentence']}" if row["sentence"] else ""


def marks(row: dict[str, str], kinds: Sequence[str]) -> list[Mark]:
    """What two samples may not have in common if one is tested and the other learned from.

    The own recording, speaker and sentence of a row of data/split.csv, and what its column
    `carried` adds, as kind=name between tabs: those of its copies, the pairs of utterances that
    overlap, and the official part, dev or test, that a face belongs to.

    Args:
        kinds: the kinds that count, in the order in which they are returned; own names first.
    """
    carried = [item.partition("=")[::2] for item in row.get("carried", "").split("\t")]
    recording = recording_id(row["id"])
    own = {"recording": recording, "speaker": row["speaker"], "sentence": sentence_id(row)}
    found = []
    for kind in kinds:
        found += [(kind, own[kind])] if own.get(kind) else []
        found += [item for item in carried if item[0] == kind]
    return found


def kept_apart(protocol: str) -> tuple[str, ...]:
    """The kinds of marks that a protocol keeps apart."""
    speaker = ("speaker",) if protocol in SPEAKER_DISJOINT else ()
    sentence = ("sentence",) if protocol in SENTENCE_DISJOINT else ()
    return SAME_RECORDING + speaker + sentence


def assign_roles(
    visual: Rows, acoustic: Rows, protocol: str, folds: int, validation: float, seed: int
) -> Rows:
    """All rows, with a column fold_k each that holds their role in fold k.

    Args:
        validation: share of the acoustic training samples that validate, of each emotion or, where
            every fold has enough speakers, of the speakers; the official split has a part of its
            own for that.

    Raises:
        UserError: the protocol cannot be carried out with these folds or utterances.
    """
    kinds, rows = kept_apart(protocol), visual + acoustic

    def complete(roles: list[str], apart: Sequence[str] = SAME_RECORDING) -> list[str]:
        """Roles of all rows, out what shares `kinds` with the test or `apart` with validation."""
        held_out = {
            mark
            for row, role in zip(acoustic, roles)
            if role in (TEST, VALIDATION)
            for mark in marks(row, kinds if role == TEST else apart)
        }
        roles = [
            OUT if role == TRAIN and not held_out.isdisjoint(marks(row, kinds)) else role
            for row, role in zip(acoustic, roles)
        ]
        return visual_roles(protocol, visual, held_out) + roles

    divided = []
    for roles in acoustic_roles(protocol, acoustic, folds, seed):
        tested = {
            mark for row, role in zip(acoustic, roles) if role == TEST for mark in marks(row, kinds)
        }
        divided.append(
            [
                OUT if role != TEST and not tested.isdisjoint(marks(row, kinds)) else role
                for row, role in zip(acoustic, roles)
            ]
        )
    columns: list[list[str]] = []
    if protocol in SPEAKER_DISJOINT and validation > 0:
        for fold, roles in enumerate(divided):
            whole = complete(roles)
            tried = (
                complete(part, (*SAME_RECORDING, "speaker"))
                for part in speaker_parts(acoustic, roles, validation, [seed, fold])
            )
            enough = (one for one in tried if _enough_speakers(visual, acoustic, one, whole))
            columns.append(next(enough, []))
    if not columns or not all(columns):  # in all folds alike
        columns = []
        for fold, roles in enumerate(divided):
            if protocol != "official":
                rng = np.random.default_rng([seed, fold])
                emotions = [row["emotion"] for row in acoustic]
                roles = with_validation(roles, emotions, validation, rng)
            columns.append(complete(roles))
    return [
        {**row, **{f"fold_{fold}": column[i] for fold, column in enumerate(columns)}}
        for i, row in enumerate(rows)
    ]


def speaker_parts(
    rows: Rows, roles: Sequence[str], share: float, seed: Sequence[int]
) -> Iterator[list[str]]:
    """The roles with one part of the training speakers after another in validation.

    Args:
        rows, roles: of the acoustic samples.
        share: of the training samples in a part, as nearly as whole speakers allow.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    train = [i for i, role in enumerate(roles) if role == TRAIN]
    emotions, speakers = ([rows[i][key] for i in train] for key in ("emotion", "speaker"))
    most = min(len(set(speakers)), max(Counter(emotions).values(), default=0))
    parts = min(round(1 / share), most)
    if parts < 2:
        return
    random_state = int(np.random.default_rng(seed).integers(2**32))
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=random_state)
    part_of = dict(zip(train, _test_folds(splitter, emotions, speakers).tolist()))
    for part in range(parts):
        yield [VALIDATION if part_of.get(i) == part else role for i, role in enumerate(roles)]


def _enough_speakers(
    visual: Rows, acoustic: Rows, column: Sequence[str], whole: Sequence[str]
) -> bool:
    """Whether MIN_SPEAKERS train, and every emotion that trains without a validation part.

    Args:
        column, whole: roles of the visual and then the acoustic samples, with a validation part
            and without; every emotion of the voices must validate as well.
    """

    def found(key: str, role: str, roles: Sequence[str], rows: Rows = acoustic) -> set[str]:
        of_rows = roles[: len(visual)] if rows is visual else roles[len(visual) :]
        return {row[key] for row, of in zip(rows, of_rows) if of == role}

    emotions = found("emotion", TRAIN, whole)
    return (
        len(found("speaker", TRAIN, column)) >= MIN_SPEAKERS
        and found("emotion", TRAIN, column) == found("emotion", VALIDATION, column) == emotions
        and found("emotion", TRAIN, column, visual) == found("emotion", TRAIN, whole, visual)
    )


def validated_by(rows: Rows, folds: int) -> str:
    """What validates: "speaker" if no validation speaker trains in any fold, else "utterance"."""
    for column in (f"fold_{fold}" for fold in range(folds)):
        speakers = {
            role: {mark for row in rows if row[column] == role for mark in marks(row, ["speaker"])}
            for role in (TRAIN, VALIDATION)
        }
        if not speakers[VALIDATION] or not speakers[TRAIN].isdisjoint(speakers[VALIDATION]):
            return "utterance"
    return "speaker"


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

    divisions = []  # for each thing that is kept apart, the parts that each row belongs to
    if protocol in SPEAKER_DISJOINT:
        _check_folds(folds, len({row["speaker"] for row in rows}), "speakers of the voices")
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
        divisions.append(_parts(splitter, rows, "speaker"))
    if protocol in SENTENCE_DISJOINT:
        _check_sentences(rows)
        _check_folds(folds, len({sentence_id(row) for row in rows}), "sentences of the voices")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        divisions.append(_parts(splitter, rows, "sentence"))
    tests = np.ndindex(*[folds] * len(divisions))
    return [
        [
            _disjoint_role([part == number for parts, number in zip(own, test) for part in parts])
            for own in zip(*divisions)
        ]
        for test in tests
    ]


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


def visual_roles(protocol: str, visual: Rows, held_out: Collection[Mark]) -> list[str]:
    """Roles of the visual samples, train or out, in a fold that holds out these marks.

    In "paper" all train. Elsewhere those of the test and validation utterances stay out, and with
    them those of the test speakers, of the test sentences, or of the corpus' own test and dev
    part, as the protocol has it.
    """
    if protocol == "paper":
        return [TRAIN] * len(visual)
    kinds = kept_apart(protocol)
    return [
        OUT
        if (protocol == "official" and (row["split"] in ("dev", "test") or marks(row, ["part"])))
        or any(mark in held_out for mark in marks(row, kinds))
        else TRAIN
        for row in visual
    ]


def check_classes(
    rows: Rows, folds: int, allow_missing: bool = False, acoustic_only: bool = False
) -> None:
    """Check that every fold trains and tests every emotion (with `allow_missing`, any emotion).

    Args:
        acoustic_only: no visual samples are trained on.

    Raises:
        UserError: names the fold and what it lacks.
    """
    needed = [("visual", TRAIN), ("acoustic", TRAIN), ("acoustic", TEST)]
    for fold in range(folds):
        for modality, role in needed[acoustic_only:]:
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
    """How many test utterances have visual samples of their recording, or a copy, in training."""
    count = 0
    for column in (f"fold_{fold}" for fold in range(folds)):
        trained = {
            mark
            for row in rows
            if row["modality"] == "visual" and row[column] == TRAIN
            for mark in marks(row, SAME_RECORDING)
        }
        count += sum(
            row["modality"] == "acoustic"
            and row[column] == TEST
            and not trained.isdisjoint(marks(row, SAME_RECORDING))
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


def _check_sentences(rows: Rows) -> None:
    for row in rows:
        if not row["sentence"]:
            raise UserError(
                f"params.yaml: protocol: {row['id']} has no sentence in its corpus; choose "
                "another protocol or corpus"
            )


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


def _parts(splitter: "BaseCrossValidator", rows: Rows, kind: str) -> list[set[int]]:
    """The folds that test the speakers, or the sentences, of each row and of its copies.

    A name that only copies have goes with the row's own.
    """
    names = [[name for _, name in marks(row, [kind])] for row in rows]
    own = [found[0] for found in names]
    fold_of = dict(zip(own, _test_folds(splitter, [row["emotion"] for row in rows], own).tolist()))
    return [{fold_of.get(name, fold_of[found[0]]) for name in found} for found in names]


def _disjoint_role(shared: Sequence[bool]) -> str:
    """The role of what shares these of its speakers and sentences with the test part."""
    return TEST if all(shared) else OUT if any(shared) else TRAIN
