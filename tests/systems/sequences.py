"""Utterances as sequences or dialogues, and batches of them, for the systems that attend."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from stages.systems.neural import Padded

DIMS = {"acoustic": 5, "linguistic": 4, "visual": 3}
Clip = Mapping[str, Tensor]


def clip(seed: int, **lengths: int) -> Clip:
    """An utterance of random features [T, D]; a view of length 0 is absent."""
    generator = torch.Generator().manual_seed(seed)
    return {
        view: torch.randn(length, DIMS[view], generator=generator)
        for view, length in lengths.items()
        if length
    }


def dialogue(seed: int, turns: int, turn: int, **absent: Sequence[int]) -> Clip:
    """A turn of a random dialogue of two speakers, some of whose turns lack a view."""
    found = dict(clip(seed, **dict.fromkeys(DIMS, turns)))
    for view in DIMS:
        there = torch.ones(turns, dtype=torch.bool)
        there[list(absent.get(view, []))] = False
        found[view] = found[view] * there[:, None]
        found[f"{view}_there"] = there
    found["speakers"] = torch.arange(turns) * 7 % 3 % 2
    found["turn"] = torch.tensor([turn])
    return found


def without(one: Clip, *views: str) -> Clip:
    return {name: value for name, value in one.items() if name.split("_")[0] not in views}


def batch_of(clips: Sequence[Clip], more: int = 0, filled: float = 0.0) -> dict[str, Padded]:
    """Utterances side by side, their views padded by `more` steps than needed with a value.

    As for a trained classifier, what all lack is a step that does not count.
    """
    batch = {}
    for view in [*DIMS, *(name for name in ("speakers", "turn") if name in clips[0])]:
        of_one = torch.zeros(1, DIMS.get(view, 0))
        known = next((one[view] for one in clips if view in one), of_one)
        values = [one.get(view, known[:0]) for one in clips]
        there = [one.get(f"{view}_there", torch.ones(len(x)) > 0) for one, x in zip(clips, values)]
        length = max(1, *map(len, values)) + (more if view != "turn" else 0)
        side = (0, 0) if known.dim() == 2 else ()
        value = filled if view in DIMS else 0
        x = torch.stack([pad(x, (*side, 0, length - len(x)), value=value) for x in values])
        mask = torch.stack([pad(of, (0, length - len(of))) for of in there])
        x[~mask] = value
        batch[view] = Padded(x, mask)
    return batch
