"""Choosing on utterances that did not train: what every system that chooses does alike."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from stages.splits.protocols import (
    SENTENCE_DISJOINT,
    SPEAKER_DISJOINT,
    TEST,
    TRAIN,
    acoustic_roles,
    sentence_id,
)
from stages.systems.contract import Samples, fit_standardizer
from stages.systems.pooled import Training, found_of

INNER_FOLDS = 5  # at most
T = TypeVar("T")


def score_of(found: Mapping[str, float], select: str) -> tuple[float, float]:
    """What is kept has most of: recall, and of equal recall the lower loss decides.

    Recalls are counts, and of the loss two decimals count, so that the rounding of another machine
    keeps the same.

    Args:
        found: validation_uar or validation_war, as `select` says, and validation_loss.
    """
    recall = round(found[f"validation_{select}"], 9)  # summed in whatever order
    return recall, -round(found["validation_loss"], 2)


def best_of(told: Mapping[T, Sequence[Tensor]], true: Sequence[Tensor]) -> T:
    """Of some candidates the one that tells held-out utterances best, by UAR.

    Args:
        told: the probabilities [C] of each utterance, by candidate.
        true: the classes int64 [n] of the utterances, part by part.

    Returns:
        Of equal ones the first; the first where nothing was held out.
    """
    if not true:
        return next(iter(told))
    classes = torch.cat(list(true))
    scores = {}
    for candidate, probabilities in told.items():
        found = found_of(torch.stack(list(probabilities)), classes, "validation")
        scores[candidate] = score_of({"validation_loss": math.inf} | found, "uar")
    return max(scores, key=lambda candidate: scores[candidate])


def inner_parts(training: Training) -> Iterator[tuple[Samples, Samples]]:
    """The training part divided anew, as the protocol divides all: to learn from, and to choose by.

    Where it has one speaker or sentence to keep apart, by utterance. Each is standardised by what
    is learned from. Nothing where no emotion has two utterances. An utterance that is there several
    times, by copies or to even the classes, is on one side, and chosen by is itself alone, once.
    """
    protocol = training.protocol
    first: dict[str, int] = {}
    for i, row in enumerate(training.rows):  # those of no copies come first
        first.setdefault(row["id"], i)
    rows = [training.rows[i] for i in first.values()]
    counts = [max(Counter(row["emotion"] for row in rows).values())]
    if protocol in SPEAKER_DISJOINT:
        counts.append(len({row["speaker"] for row in rows}))
    if protocol in SENTENCE_DISJOINT:
        counts.append(len({sentence_id(row) for row in rows}))
    if min(counts) < 2 or protocol == "official":
        protocol, counts = "paper", counts[:1]
    if min(counts) < 2:
        return
    for roles in acoustic_roles(protocol, rows, min(INNER_FOLDS, *counts), 0):
        learns = {row["id"] for row, role in zip(rows, roles) if role == TRAIN}
        learned = torch.tensor([row["id"] in learns for row in training.rows])
        held = torch.tensor([i for i, role in zip(first.values(), roles) if role == TEST])
        if learned.any() and len(held):
            x, y = training.samples
            scale = fit_standardizer(x[learned])
            yield (
                Samples(scale.apply(x[learned]), y[learned]),
                Samples(scale.apply(x[held]), y[held]),
            )
