"""How far the replicas are, told by the processes that train them while they do."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property

import numpy as np

from stages.runtime.progress import repeating, watch
from stages.systems.contract import Histories, Live

ENDED = "ended"  # entry of Histories that is 1 in the last epoch of a replica
SECONDS_BETWEEN_CALLS = 3.0


class Reporter:
    """Writes what is known of the epochs of a replica; may be sent to another process.

    Args:
        path: of what `board` reads.
        shape: replicas, epochs, names.
        names: of what is written.
        first: number of the replica that stands first where this is used.
    """

    def __init__(self, path: str, shape: tuple[int, ...], names: list[str], first: int = 0):
        self.path, self.shape, self.names, self.first = path, shape, names, first

    def __call__(self, place: int, number: int, epoch: Mapping[str, float], ended: bool) -> None:
        """Told of a replica: an epoch's number, what is known of it, if it was the last."""
        known = {**epoch, ENDED: ended}
        values = [known.get(name, math.nan) for name in self.names]
        self._values[self.first + place, number - 1] = values

    def starting_at(self, first: int) -> "Reporter":
        """The same for replicas of which another stands first."""
        return Reporter(self.path, self.shape, self.names, first)

    @cached_property
    def _values(self) -> np.ndarray:
        return np.memmap(self.path, np.float64, "r+", shape=self.shape)


@contextmanager
def board(
    label: str, replicas: int, epochs: int, terms: Sequence[str], live: Live | None = None
) -> Iterator[Reporter]:
    """Show how far replicas are while they are trained.

    Args:
        epochs: of each, at most.
        terms: of the loss, as an epoch names them.
        live: called every few seconds from a thread.
    """
    recalls = ["acoustic_uar", "visual_uar", "validation_loss", "validation_uar"]
    names = [*terms, *recalls, ENDED]
    shape = replicas, epochs, len(names)
    with tempfile.TemporaryFile() as file:
        file.write(np.full(shape, math.nan).tobytes())
        file.flush()
        # The file has no name, so that nothing is left of it even if this process is killed.
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        shared = np.memmap(path, np.float64, "r", shape=shape)
        histories = {name: shared[..., i] for i, name in enumerate(names)}
        calls = repeating(SECONDS_BETWEEN_CALLS, lambda: live(histories)) if live else nullcontext()
        with calls, watch(label, "epochs", lambda: in_words(state_of(histories), replicas)):
            yield Reporter(path, shape, names)


def state_of(histories: Histories) -> dict[str, float]:
    """How far all replicas are.

    Returns:
        `epochs_made` by all of them, and `epochs_expected`: of a replica in training as many as
        those that have ended made on average, or all if none has. `replicas_ended`. Means over the
        replicas that have begun, each in its last epoch: `loss`, of the training voices, and
        `validation_uar`. What is not known is absent.
    """
    losses = histories["acoustic_loss"]
    made = (~np.isnan(losses)).sum(1)
    over, begun = np.nansum(histories[ENDED], 1) > 0, made > 0
    expected = made[over].mean() if over.any() else losses.shape[1]
    state = {
        "epochs_made": int(made.sum()),
        "epochs_expected": round(np.where(over, made, np.maximum(made, expected)).sum()),
        "replicas_ended": int(over.sum()),
    }
    for name, entry in {"loss": "acoustic_loss", "validation_uar": "validation_uar"}.items():
        last = histories[entry][begun, made[begun] - 1]
        if begun.any() and not np.isnan(last).any():
            state[name] = float(last.mean())
    return state


def in_words(state: Mapping[str, float], replicas: int) -> tuple[int, int, str]:
    """Epochs made by all replicas, how many they will be, and what else is known, in words."""
    note = f" ({state['replicas_ended']} of {replicas} replicas done)"
    if "loss" in state:
        note += f", loss {state['loss']:.2f}"
    if "validation_uar" in state:
        note += f", validation UAR {state['validation_uar']:.2f}"
    return int(state["epochs_made"]), int(state["epochs_expected"]), note
