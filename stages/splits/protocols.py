"""Protocols: which voices and faces train, which validate and which test, in every fold.

Paper: Section 3.2, "we selected 8/10 speech samples of each emotional categories and all visual
samples for training, and the remaining 2/10 speech samples for testing". That is protocol "paper"
with `folds: 5`, done five times, so that every voice is tested once. In it the faces of test
utterances train; the other protocols keep them out:

- "speaker": the speakers are divided, faces and voices alike;
- "sentence": what is said is divided;
- "speaker_sentence": both, into folds x folds folds; what shares only one of the two with the
  test part is left out of that fold;
- "official": the corpus' own split, one fold.
"""

from collections.abc import Sequence

import numpy as np

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError

Rows = list[dict[str, str]]
TRAIN, VALIDATION, TEST, OUT = "train", "validation", "test", "out"
OFFICIAL = {"train": TRAIN, "dev": VALIDATION, "test": TEST}
SPEAKER_DISJOINT = ("speaker", "speaker_sentence")
SENTENCE_DISJOINT = ("sentence", "speaker_sentence")


def layout(identity: str) -> str:
    """The publisher's corpus behind an id, shared by variants (ravdess, ravdess_grey)."""
    return identity.split("/", 1)[0].split("_")[0]


def take(identity: str) -> str:
    """The recording behind an id, the same for variants of a corpus (ravdess, ravdess_grey)."""
    return f"{layout(identity)}/{identity.split('/', 1)[1]}"


def text(row: dict[str, str]) -> str:
    """What is said, unique over all corpora; "" where the corpus does not tell."""
    return f"{layout(row['id'])}/{row['sentence']}" if row["sentence"] else ""


def assign_roles(
    faces: Rows, voices: Rows, protocol: str, folds: int, validation: float, seed: int
) -> Rows:
    """Faces and voices with a column fold_k each, which holds their role in fold k.

    Args:
        validation: share of the training voices of each emotion that validate; the official
            split has a part of its own for that.

    Raises:
        UserError: the protocol cannot be carried out with these folds or voices.
    """
    columns = []
    for fold, heard in enumerate(voice_roles(protocol, voices, folds, seed)):
        if protocol != "official":
            rng = np.random.default_rng([seed, fold])
            heard = with_validation(heard, [row["emotion"] for row in voices], validation, rng)
        columns.append(face_roles(protocol, faces, voices, heard) + heard)
    return [
        {**row, **{f"fold_{fold}": column[i] for fold, column in enumerate(columns)}}
        for i, row in enumerate(faces + voices)
    ]


def voice_roles(protocol: str, voices: Rows, folds: int, seed: int) -> list[list[str]]:
    """Roles train, test or out (official: validation too) of the voices, a list for each fold."""
    if protocol == "official":
        return [_official_roles(voices, folds)]
    if folds < 2:
        raise UserError(f"params.yaml: folds: protocol {protocol} needs at least 2, not {folds}")
    rng = np.random.default_rng(seed)
    if protocol == "paper":
        fold_of = _deal([row["emotion"] for row in voices], folds, rng)
        return [[TEST if own == fold else TRAIN for own in fold_of] for fold in range(folds)]

    parts = []  # for each thing that is divided, the part that every voice belongs to
    if protocol in SPEAKER_DISJOINT:
        speakers = [row["speaker"] for row in voices]
        parts.append(_divide("speakers", speakers, {name: "" for name in speakers}, folds, rng))
    if protocol in SENTENCE_DISJOINT:
        parts.append(_divide("sentences", *_texts(voices), folds, rng))
    tests = (
        [(k,) * len(parts) for k in range(folds)]
        if len(parts) == 1
        else [(i, j) for i in range(folds) for j in range(folds)]
    )
    return [[_disjoint_role(own, tested) for own in zip(*parts)] for tested in tests]


def with_validation(
    roles: list[str], emotions: Sequence[str], share: float, rng: np.random.Generator
) -> list[str]:
    """Let a random `share` of the training voices of each emotion validate instead.

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


def face_roles(protocol: str, faces: Rows, voices: Rows, heard: Sequence[str]) -> list[str]:
    """Roles of the faces, train or out, in a fold in which the voices have the roles `heard`.

    In "paper" all faces train. Elsewhere those of the test and validation utterances stay out,
    and with them those of the test speakers, of the test sentences, or of the corpus' own test
    and dev part, as the protocol has it.
    """
    if protocol == "paper":
        return [TRAIN] * len(faces)
    tested = [row for row, role in zip(voices, heard) if role == TEST]
    held = {take(row["id"]) for row, role in zip(voices, heard) if role in (TEST, VALIDATION)}
    speakers = {row["speaker"] for row in tested if protocol in SPEAKER_DISJOINT}
    texts = {text(row) for row in tested if protocol in SENTENCE_DISJOINT}

    def role(row: dict[str, str]) -> str:
        outside = protocol == "official" and row["split"] not in ("", "train")
        shared = row["speaker"] in speakers or text(row) in texts
        return OUT if outside or shared or take(row["id"]) in held else TRAIN

    return [role(row) for row in faces]


def require_classes(rows: Rows, folds: int, allow_missing: bool = False) -> None:
    """Refuse a fold in which an emotion is absent from what trains or from what is tested.

    With `allow_missing` only a fold in which all of them are is refused.
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


def tested_with_trained_face(rows: Rows, folds: int) -> int:
    """How many test voices have the face of their own recording among the training faces."""
    count = 0
    for column in (f"fold_{fold}" for fold in range(folds)):
        trained = {
            take(row["id"]) for row in rows if row["modality"] == "visual" and row[column] == TRAIN
        }
        count += sum(
            row["modality"] == "acoustic" and row[column] == TEST and take(row["id"]) in trained
            for row in rows
        )
    return count


def _official_roles(voices: Rows, folds: int) -> list[str]:
    if folds != 1:
        raise UserError(f"params.yaml: folds: protocol official has one fold, not {folds}; set 1")
    for row in voices:
        if row["split"] not in OFFICIAL:
            raise UserError(
                f"params.yaml: protocol: {row['id']} has no official split ({row['split']!r}); "
                "choose another protocol or corpus"
            )
    return [OFFICIAL[row["split"]] for row in voices]


def _texts(voices: Rows) -> tuple[list[str], dict[str, str]]:
    """What each voice says, and for each text the emotions that it is said in."""
    for row in voices:
        if not row["sentence"]:
            raise UserError(
                f"params.yaml: protocol: {row['id']} has no sentence in its corpus; choose "
                "another protocol or corpus"
            )
    emotions: dict[str, set[str]] = {}
    for row in voices:
        emotions.setdefault(text(row), set()).add(row["emotion"])
    return [text(row) for row in voices], {k: ",".join(sorted(v)) for k, v in emotions.items()}


def _divide(
    what: str, of_voice: list[str], stratum: dict[str, str], folds: int, rng: np.random.Generator
) -> list[int]:
    """The part, 0 .. folds - 1, of every voice when the things `of_voice` are dealt to parts.

    Things of one stratum are spread evenly: a text that is said in one emotion only must not
    leave that emotion without a training text.
    """
    names = sorted(set(of_voice))
    if len(names) < folds:
        raise UserError(
            f"params.yaml: folds: {folds} is more than the {len(names)} {what} of the voices; "
            f"this protocol needs folds <= {len(names)}"
        )
    part = dict(zip(names, _deal([stratum[name] for name in names], folds, rng).tolist()))
    return [part[name] for name in of_voice]


def _disjoint_role(own: tuple[int, ...], tested: tuple[int, ...]) -> str:
    shared = [mine == theirs for mine, theirs in zip(own, tested)]
    return TEST if all(shared) else OUT if any(shared) else TRAIN


def _deal(groups: Sequence[str], folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the members of each group to the folds like cards, going on where the last stopped."""
    groups = np.asarray(groups)
    fold = np.empty(len(groups), int)
    dealt = 0
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        fold[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    return fold
