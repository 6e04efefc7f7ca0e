"""How far the replicas are, told by the processes that train them while they do."""

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from stages.fdan.training import Epoch
from stages.runtime.progress import watch

COLUMNS = 4  # of a replica: epochs made, 1 once it has ended, training loss, validation UAR


class Reporter:
    """Writes what a replica has reached to its row; may be sent to another process.

    Args:
        path: of the rows, from `board`.
        first: row of the replica that stands first where this is used.
    """

    def __init__(self, path: str, first: int = 0):
        self.path, self.first = path, first

    def __call__(self, place: int, number: int, epoch: Epoch, ended: bool) -> None:
        """A `stages.fdan.training.Report`."""
        uar = epoch.get("validation_uar", math.nan)
        self._rows[self.first + place] = number, ended, epoch["acoustic_loss"], uar

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.memmap(self.path, np.float64, "r+").reshape(-1, COLUMNS)


@contextmanager
def board(label: str, replicas: int, epochs: int) -> Iterator[str]:
    """Show how far replicas of at most so many epochs are; yields the path for `Reporter`."""
    with tempfile.TemporaryFile() as file:
        rows = np.zeros((replicas, COLUMNS))
        file.write(rows.tobytes())
        file.flush()
        # The file has no name, so that nothing is left of it even if this process is killed.
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        shared = np.memmap(path, np.float64, "r").reshape(rows.shape)
        with watch(label, "epochs", lambda: summary(shared, epochs)):
            yield path


def summary(rows: np.ndarray, epochs: int) -> tuple[int, int, str]:
    """Epochs made by all replicas, how many they will be, and what else is known, in words.

    Args:
        rows: of every replica.
        epochs: that a replica makes at most. The others are expected to make as many as those that
            have ended.
    """
    made, ended, losses, recalls = rows.T
    over, begun = ended == 1, made > 0
    expected = made[over].mean() if over.any() else epochs
    total = np.where(over, made, np.maximum(made, expected)).sum()
    note = f" ({over.sum()} of {len(rows)} replicas done)"
    if begun.any():
        note += f", loss {losses[begun].mean():.2f}"
        if not np.isnan(recalls[begun]).any():
            note += f", validation UAR {recalls[begun].mean():.2f}"
    return int(made.sum()), round(total), note
