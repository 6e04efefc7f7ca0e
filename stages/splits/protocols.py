"""Protocols: which utterances train, which validate and which test, in every fold.

Paper: Section 3.2, "we selected 8/10 speech samples of each emotional categories and all visual
samples for training, and the remaining 2/10 speech samples for testing". That is protocol "paper"
with `folds: 5`, done five times, so that every acoustic sample is tested once. In it the visual
samples of test utterances train; the other protocols keep them out:

- "paper": folds with equally many utterances of each emotion (scikit-learn's StratifiedKFold);
- "speaker": no speaker is both in training and test (GroupKFold);
- "session": no recording session is, nor a speaker of one (GroupKFold);
- "sentence": no sentence is, and the emotions are spread evenly (StratifiedGroupKFold);
- "speaker_sentence": both, in folds x folds folds; what shares only one of the two with the test
  part is left out of that fold;
- "official": the corpus' own split, one fold.

The validation part of "speaker" and "speaker_sentence" is of speakers who do not train, as the test
part is, where enough speakers are left to train (MIN_SPEAKERS). Else, and under the others, it is
of whole dialogues where the corpus has dialogues, and drawn from all training utterances where it
has none; "session" then takes whole speakers first.

Where another corpus is tested than the one that trains there is one fold, and the protocol says no
more than what validates and what is kept apart; no face of a test or validation utterance trains.
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
SPEAKER_DISJOINT = ("speaker", "session", "speaker_sentence")
SENTENCE_DISJOINT = ("sentence", "speaker_sentence")
SAME_RECORDING = ("recording", "overlap")
MIN_SPEAKERS = 4  # that must train: to leave out one of fewer costs over a fifth of the voices
KINDS = (*SAME_RECORDING, "session", "speaker", "sentence", "dialogue", "part")
Mark = tuple[str, str]  # one of KINDS, and a name


def corpus_of(utterance_id: str) -> str:
    """The corpus of an id, as params.yaml names it."""
    return utterance_id.split("/", 1)[0]


def base_corpus(utterance_id: str) -> str:
    """The corpus of an id without the suffix of its variants (ravdess for ravdess_grey)."""
    return corpus_of(utterance_id).split("_")[0]


def recording_id(utterance_id: str) -> str:
    """The recording behind an id, the same for variants of a corpus (ravdess, ravdess_grey)."""
    return f"{base_corpus(utterance_id)}/{utterance_id.split('/', 1)[1]}"


def sentence_id(row: dict[str, str]) -> str:
    """The sentence of a row, unique over all corpora; "" where the corpus does not tell it."""
    return f"{base_corpus(row['id'])}/{row['sentence']}" if row["sentence"] else ""


def marks(row: dict[str, str], kinds: Sequence[str]) -> list[Mark]:
    """What two samples may not have in common if one is tested and the other learned from.

    The own recording, session, speaker, ... of a row of data/split.csv, and what its column
    `carried` adds, as kind=name between tabs: those of its copies, the pairs of utterances that
    overlap, and the official part, dev or test, that a face belongs to.

    Args:
        kinds: the kinds that count, in the order in which they are returned; own names first.
    """
    carried = [item.partition("=")[::2] for item in row.get("carried", "").split("\t")]
    recording = recording_id(row["id"])
    own = {key: row.get(key) for key in ("session", "speaker", "dialogue")}
    own |= {"recording": recording, "sentence": sentence_id(row)}
    found = []
    for kind in kinds:
        found += [(kind, name)] if (name := own.get(kind)) else []
        found += [item for item in carried if item[0] == kind]
    return found


def kept_apart(protocol: str) -> tuple[str, ...]:
    """The kinds of marks that a protocol keeps apart."""
    session = ("session",) if protocol == "session" else ()
    speaker = ("speaker",) if protocol in SPEAKER_DISJOINT else ()
    sentence = ("sentence",) if protocol in SENTENCE_DISJOINT else ()
    return SAME_RECORDING + session + speaker + sentence


def assign_roles(
    visual: Rows,
    acoustic: Rows,
    protocol: str,
    folds: int,
    validation: float,
    seed: int,
    test: str = "",
    train_share: float = 1.0,
) -> Rows:
    """All rows, with a column fold_k each that holds their role in fold k.

    Args:
        test: the corpus, of several in `acoustic`, whose utterances are tested, while all others
            train and validate in one fold; "" where there is one corpus, in folds.
        train_share: share of the training speakers of each fold that train (`with_share`).
        validation: share of the acoustic training samples that validate, of each emotion or, where
            every fold has enough of them, of the speakers or dialogues; the official split has a
            part of its own for that.

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
            OUT if role == TRAIN and not held_out.isdisjoint(marks(row, KINDS)) else role
            for row, role in zip(acoustic, roles)
        ]
        return visual_roles(protocol, visual, held_out, bool(test)) + roles

    divided = []
    for roles in (
        [roles_across(protocol, acoustic, test)]
        if test
        else acoustic_roles(protocol, acoustic, folds, seed)
    ):
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
    learned = [row for row in acoustic if corpus_of(row["id"]) != test]
    for unit in _validation_units(protocol, learned) if validation > 0 else ():
        columns = []
        for fold, roles in enumerate(divided):
            whole = complete(roles)
            tried = (
                complete(part, (*SAME_RECORDING, unit))
                for part in validation_parts(acoustic, roles, unit, validation, [seed, fold])
            )
            enough = (one for one in tried if _enough(unit, visual, acoustic, one, whole))
            columns.append(next(enough, []))
        if all(columns):  # in all folds alike
            break
    if not columns or not all(columns):
        columns = []
        for fold, roles in enumerate(divided):
            if protocol != "official":
                rng = np.random.default_rng([seed, fold])
                emotions = [row["emotion"] for row in acoustic]
                roles = with_validation(roles, emotions, validation, rng)
            columns.append(complete(roles))
    columns = [
        with_share(rows, column, train_share, [seed, fold]) for fold, column in enumerate(columns)
    ]
    return [
        {**row, **{f"fold_{fold}": column[i] for fold, column in enumerate(columns)}}
        for i, row in enumerate(rows)
    ]


def _validation_units(protocol: str, rows: Rows) -> list[str]:
    """What the validation part is made of whole, the first that can be; else of utterances."""
    dialogues = ["dialogue"] if any(marks(row, ["dialogue"]) for row in rows) else []
    if protocol in ("speaker", "speaker_sentence"):
        return ["speaker", *dialogues]
    if protocol == "session":
        return [*dialogues, "speaker"]
    return dialogues if protocol != "official" else []


def validation_parts(
    rows: Rows, roles: Sequence[str], unit: str, share: float, seed: Sequence[int]
) -> Iterator[list[str]]:
    """The roles with one part of the training speakers or dialogues after another in validation.

    Args:
        rows, roles: of the acoustic samples.
        unit: "speaker", or "dialogue", of which an utterance outside of one is one of its own.
        share: of the training samples in a part, as nearly as whole speakers or dialogues allow.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    train = [i for i, role in enumerate(roles) if role == TRAIN]
    emotions = [rows[i]["emotion"] for i in train]
    groups = [rows[i].get(unit) or rows[i]["id"] for i in train]
    most = min(len(set(groups)), max(Counter(emotions).values(), default=0))
    parts = min(round(1 / share), most)
    if parts < 2:
        return
    random_state = int(np.random.default_rng(seed).integers(2**32))
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=random_state)
    part_of = dict(zip(train, _test_folds(splitter, emotions, groups).tolist()))
    for part in range(parts):
        yield [VALIDATION if part_of.get(i) == part else role for i, role in enumerate(roles)]


def _enough(
    unit: str, visual: Rows, acoustic: Rows, column: Sequence[str], whole: Sequence[str]
) -> bool:
    """Whether every emotion trains that does without a validation part, and enough speakers.

    Where whole speakers validate, MIN_SPEAKERS.

    Args:
        column, whole: roles of the visual and then the acoustic samples, with a validation part
            and without; every emotion of the voices must validate as well.
    """

    def found(key: str, role: str, roles: Sequence[str], rows: Rows = acoustic) -> set[str]:
        of_rows = roles[: len(visual)] if rows is visual else roles[len(visual) :]
        return {row[key] for row, of in zip(rows, of_rows) if of == role}

    emotions = found("emotion", TRAIN, whole)
    return (
        (unit != "speaker" or len(found("speaker", TRAIN, column)) >= MIN_SPEAKERS)
        and found("emotion", TRAIN, column) == found("emotion", VALIDATION, column) == emotions
        and found("emotion", TRAIN, column, visual) == found("emotion", TRAIN, whole, visual)
    )


def validated_by(rows: Rows, folds: int) -> str:
    """What validates: "speaker" if no validation speaker trains in any fold, else "dialogue" alike.

    Else "utterance".
    """

    def is_apart(kind: str, column: str) -> bool:
        training, validating = (
            {mark for row in rows if row[column] == role for mark in marks(row, [kind])}
            for role in (TRAIN, VALIDATION)
        )
        return bool(validating) and training.isdisjoint(validating)

    for kind in ("speaker", "dialogue"):
        if all(is_apart(kind, f"fold_{fold}") for fold in range(folds)):
            return kind
    return "utterance"


def with_share(rows: Rows, roles: Sequence[str], share: float, seed: Sequence[int]) -> list[str]:
    """The roles in a fold where a share of its training speakers trains, the others are out.

    The speakers of the training voices count, rounded and at least one; those of a smaller share
    are among those of a larger. Their faces go with them; faces of people who are not heard in
    training stay. Validation and test stay as they are.

    Raises:
        UserError: a speaker is not told.
    """
    if share == 1:
        return list(roles)
    training = [
        row for row, role in zip(rows, roles) if row["modality"] == "acoustic" and role == TRAIN
    ]
    _check_told(training, "speaker", "train_share")
    speakers = sorted({row["speaker"] for row in training})
    rng = np.random.default_rng([*seed, len(TRAIN)])  # not as that of the validation part
    beyond = rng.permutation(speakers)[max(1, round(share * len(speakers))) :]
    gone = {("speaker", name) for name in beyond.tolist()}
    return [
        OUT if role == TRAIN and not gone.isdisjoint(marks(row, ["speaker"])) else role
        for row, role in zip(rows, roles)
    ]


def roles_across(protocol: str, rows: Rows, test: str) -> list[str]:
    """Roles of the rows where all of the corpus `test` is tested, and all others train.

    Under "official" the dev part of the others validates, and their test part is out.
    """
    roles = [TEST if corpus_of(row["id"]) == test else TRAIN for row in rows]
    if protocol != "official":
        return roles
    part = {**OFFICIAL, "test": OUT}
    return [role if role == TEST else part[_official_part(row)] for row, role in zip(rows, roles)]


def acoustic_roles(protocol: str, rows: Rows, folds: int, seed: int) -> list[list[str]]:
    """Roles train, test or out (official: validation too) of the rows, a list for each fold."""
    if protocol == "official":
        if folds != 1:
            raise UserError(
                f"params.yaml: folds: protocol official has one fold, not {folds}; set 1"
            )
        return [[OFFICIAL[_official_part(row)] for row in rows]]
    if folds < 2:
        raise UserError(f"params.yaml: folds: protocol {protocol} needs at least 2, not {folds}")

    # Loaded here, as the stages that only read roles need not wait for it.
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    emotions = [row["emotion"] for row in rows]
    if protocol not in ("speaker", "session"):
        _check_folds(folds, max(Counter(emotions).values()), "utterances of any emotion")
    if protocol == "paper":
        emotion_of = {recording_id(row["id"]): row["emotion"] for row in rows}
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        fold_of = dict(zip(emotion_of, _test_folds(splitter, list(emotion_of.values()))))
        tested = [fold_of[recording_id(row["id"])] for row in rows]
        return [[TEST if own == fold else TRAIN for own in tested] for fold in range(folds)]

    divisions = []  # for each thing that is kept apart, the parts that each row belongs to
    if protocol in SPEAKER_DISJOINT:
        kind = "session" if protocol == "session" else "speaker"
        _check_told(rows, kind)
        _check_folds(folds, len({row[kind] for row in rows}), f"{kind}s of the voices")
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
        divisions.append(_parts(splitter, rows, kind))
    if protocol in SENTENCE_DISJOINT:
        _check_told(rows, "sentence")
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


def visual_roles(
    protocol: str, visual: Rows, held_out: Collection[Mark], across: bool = False
) -> list[str]:
    """Roles of the visual samples, train or out, in a fold that holds out these marks.

    In "paper" all train, unless the test is `across` corpora. Elsewhere those of the test and
    validation utterances stay out, and with them those of the test sessions, speakers or sentences,
    of validation speakers or dialogues, or of the corpus' own test and dev part, as the protocol
    has it.
    """
    if protocol == "paper" and not across:
        return [TRAIN] * len(visual)
    return [
        OUT
        if (protocol == "official" and (row["split"] in ("dev", "test") or marks(row, ["part"])))
        or any(mark in held_out for mark in marks(row, KINDS))
        else TRAIN
        for row in visual
    ]


def check_classes(
    rows: Rows,
    folds: int,
    allow_missing: bool = False,
    acoustic_only: bool = False,
    classes: Collection[str] = EMOTIONS,
) -> None:
    """Check that every fold trains and tests every class (with `allow_missing`, any of them).

    Args:
        acoustic_only: no visual samples are trained on.
        classes: the emotions of the task.

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
            missing = [emotion for emotion in classes if emotion not in present]
            if not present or (missing and not allow_missing):
                raise UserError(
                    f"params.yaml: folds: fold {fold} has no {modality} {role} sample of "
                    f"{', '.join(missing)}; choose fewer folds, other corpora or classes, or, "
                    "where others remain, set allow_missing_classes: true"
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


def _official_part(row: dict[str, str]) -> str:
    if row["split"] not in OFFICIAL:
        raise UserError(
            f"params.yaml: protocol: {row['id']} has no official split ({row['split']!r}); choose "
            "another protocol or corpus"
        )
    return row["split"]


def _check_told(rows: Rows, kind: str, key: str = "protocol") -> None:
    for row in rows:
        if not row[kind]:
            raise UserError(
                f"params.yaml: {key}: {row['id']} has no {kind} in its corpus; choose another "
                "protocol or corpus"
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
    """The folds that test the sessions, speakers or sentences of each row and of its copies.

    A name that only copies have goes with the row's own.
    """
    names = [[name for _, name in marks(row, [kind])] for row in rows]
    own = [found[0] for found in names]
    fold_of = dict(zip(own, _test_folds(splitter, [row["emotion"] for row in rows], own).tolist()))
    return [{fold_of.get(name, fold_of[found[0]]) for name in found} for found in names]


def _disjoint_role(shared: Sequence[bool]) -> str:
    """The role of what shares these of its speakers and sentences with the test part."""
    return TEST if all(shared) else OUT if any(shared) else TRAIN
