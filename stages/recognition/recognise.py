"""The emotion of clips that nobody has labelled, exactly as the pipeline would have computed it.

A clip goes through the functions of the stages mels, frames and those of features, in guarded child
processes and with their cache, and then through all classifiers of a bundle.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from stages.corpora.span import Span
from stages.encoders.frozen import Encode, Frozen, freeze_acoustic, freeze_visual
from stages.encoders.speech import SAMPLE_RATE
from stages.extraction.extract import each_clip
from stages.extraction.workers import LOCAL, of_each
from stages.media.audio import clip_waveform, waveform_settings
from stages.media.crops import STATUS, clip_faces, ready_to_crop
from stages.media.probe import probe_duration
from stages.media.spectrogram import clip_mel
from stages.recognition.bundle import REMEDY, Bundle, fingerprint
from stages.runtime.errors import ClipError, UserError
from stages.runtime.progress import track
from stages.scoring.calibration import with_temperature
from stages.systems.contract import ACOUSTIC, LINGUISTIC, MELS, VISUAL, Clip, in_dialogue
from stages.systems.named import SYSTEMS

MODALITIES = (ACOUSTIC, VISUAL)  # of what is said nothing is known
ROOT = Path("/")
TOLERANCE = 0.01  # of a hop, which is not worth a window of its own

Made = Iterator[dict[str, np.ndarray] | ClipError]


class Piece(NamedTuple):
    """A clip, or a span of it."""

    path: Path
    span: Span | None = None


class Answer(NamedTuple):
    """What is known of a piece.

    Attributes:
        modalities: those that it was told by; none where it could not be used.
        probabilities: float64 [C], the mean over the seeds, with the temperature of the bundle
            where it was told by the modalities that this was fitted for; None where it could not
            be used.
        folds: float32 [R, C], those of the replicas of the folds, with no temperature.
        seconds: of its voice that were heard; None where it was not.
        trained_on: whether the model was trained on this very voice, so that the answer says
            nothing of what it would give for others. Found by the features, and so not where
            another kind of machine made them.
        faces: of V1 V2 V3 whether a face was found, one of `crops.STATUS`; empty where faces were
            not asked for or there are none.
        skips: of each modality that could not be used, why not.
    """

    piece: Piece
    modalities: tuple[str, ...]
    probabilities: np.ndarray | None
    folds: np.ndarray
    seconds: float | None
    trained_on: bool
    faces: tuple[str, ...]
    skips: dict[str, ClipError]

    def agreement(self) -> float:
        """The share of the replicas of the folds that give the same winner."""
        assert self.probabilities is not None
        return float((self.folds.argmax(1) == self.probabilities.argmax()).mean())


class Recogniser:
    """A bundle with its encoders, each of which is loaded once, when it is first needed."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.contents = bundle.contents
        self.system = SYSTEMS[bundle.contents["system"]]
        self._encoders: dict[str, Frozen] = {}

    def encoder(self, modality: str) -> Frozen:
        """The encoder of a modality, as the model was trained with it.

        Raises:
            UserError: its weights cannot be had, or are others than those of the training.
        """
        if modality not in self._encoders:
            freeze = {ACOUSTIC: freeze_acoustic, VISUAL: freeze_visual}[modality]
            found = freeze(self.contents["encoders"][modality], "predict")
            trained = self.contents["sources"].get(modality)
            if found.source != trained:
                raise UserError(
                    f"encoders.{modality}: {found.source} is not what the model was trained with, "
                    f"{trained}; put that where the other is"
                )
            self._encoders[modality] = found
        return self._encoders[modality]

    @property
    def learned_from(self) -> tuple[str, ...]:
        """The modalities that the model was trained on."""
        return self.system.modalities(self.contents["settings"])

    @property
    def usual(self) -> list[str]:
        """The modalities of its test, of which a clip has some."""
        return [name for name in self.contents["result"]["test_modalities"] if name in MODALITIES]

    @property
    def encoded(self) -> list[str]:
        """The modalities of which it needs the encoder."""
        return [name for name in self.contents["dims"] if name in MODALITIES]

    def calibrated(self, modalities: Sequence[str]) -> bool:
        """Whether the temperature was fitted on what is told by these modalities."""
        tested = self.contents["result"]["test_modalities"]
        return bool(self.contents["temperature"]) and set(modalities) == set(tested)

    def misfit(self, modalities: Sequence[str]) -> str:
        """Why the model cannot tell clips by these modalities; "" where it can."""
        learned = self.learned_from
        if extra := sorted(set(modalities) - set(learned)):
            return f"the model learned nothing from {', '.join(extra)}; leave out {extra[0]}"
        if self.system.may_lack or set(modalities) == set(learned):
            return ""
        if LINGUISTIC in learned:
            return "the model needs what is said, which nobody knows of a new clip"
        return f"the model needs {' and '.join(learned)}; give {','.join(learned)}"

    def recognise(
        self, pieces: Sequence[Piece], modalities: Sequence[str] | None = None
    ) -> list[Answer]:
        """An answer for each piece, in their order.

        Of several modalities a piece is told by those that can be used.

        Args:
            modalities: None for those of the model's test.

        Raises:
            UserError: the model was not trained on a modality, a network's weights cannot be had,
                or the cache of clips cannot be written.
        """
        modalities = self.usual if modalities is None else modalities
        if wrong := self.misfit(modalities):
            raise UserError(f"--modalities: {wrong}")
        skips: list[dict[str, ClipError]] = [{} for _ in pieces]
        seen: list[dict[str, np.ndarray]] = [{} for _ in pieces]  # by view
        statuses: dict[int, tuple[str, ...]] = {}
        lengths: dict[int, float] = {}
        if ACOUSTIC in modalities:
            lengths = self._hear(pieces, skips, seen)
        if VISUAL in modalities:
            statuses = self._look(pieces, skips, seen)
        told = [
            i for i, found in enumerate(seen) if found and (self.system.may_lack or not skips[i])
        ]
        clips = [self._clip(seen[i]) for i in told]
        torch.set_num_threads(1)  # as evaluate; the last bits of a sum depend on it
        found = [
            self.system.probabilities(classifier, clips).numpy()
            for classifier in [*self.bundle.final, *self.bundle.folds]
        ]
        trained_on = set(self.contents["trained_on"])
        answers = []
        for i, piece in enumerate(pieces):
            if i not in told:
                nothing = np.empty((0, 0))
                answers.append(Answer(piece, (), None, nothing, None, False, (), skips[i]))
                continue
            used = tuple(name for name in modalities if name not in skips[i])
            shares = np.stack([of[told.index(i)] for of in found])
            if not np.isfinite(shares).all():
                raise UserError(f"{piece.path}: the model gives no finite probabilities; {REMEDY}")
            mean = shares[: len(self.bundle.final)].mean(0, dtype=np.float64)
            if self.calibrated(used):
                mean = with_temperature(mean, self.contents["temperature"])
            answers.append(
                Answer(
                    piece,
                    used,
                    mean,
                    shares[len(self.bundle.final) :],
                    lengths.get(i),
                    fingerprint(seen[i]) in trained_on,
                    statuses.get(i, ()),
                    skips[i],
                )
            )
        return answers

    def _hear(
        self,
        pieces: Sequence[Piece],
        skips: list[dict[str, ClipError]],
        seen: list[dict[str, np.ndarray]],
    ) -> dict[int, float]:
        """Add what the system hears of each piece that has a voice; the seconds heard of it."""
        seconds, mels = {}, self.contents["mels"]
        rate = mels["sample_rate"] / mels["hop_length"]
        if MELS in self.contents["dims"]:
            for i, result in enumerate(self.spectrograms(pieces)):
                if isinstance(result, ClipError):
                    skips[i][ACOUSTIC] = result
                else:
                    seen[i][MELS] = result["values"]
                    seconds[i] = len(result["values"]) / rate
        if ACOUSTIC in self.contents["dims"]:
            encoder = self.encoder(ACOUSTIC)
            heard = self.waveforms(pieces) if encoder.waveform else self.spectrograms(pieces)
            rate = SAMPLE_RATE if encoder.waveform else rate
            for i, arrays, features in through(
                encoder.encode, heard, "values", pieces, skips, ACOUSTIC
            ):
                kept = features["values"]
                if self.system.sequences:
                    kept = features.get("sequence", kept).astype(np.float32)
                seen[i][ACOUSTIC], seconds[i] = kept, len(arrays["values"]) / rate
        return seconds

    def _look(
        self,
        pieces: Sequence[Piece],
        skips: list[dict[str, ClipError]],
        seen: list[dict[str, np.ndarray]],
    ) -> dict[int, tuple[str, ...]]:
        """Add the visual features [k, D] of each piece that has some; the status of its frames."""
        statuses = {}
        encode, crops = self.encoder(VISUAL).encode, self.crops(pieces)
        for i, arrays, features in through(encode, crops, "faces", pieces, skips, VISUAL):
            statuses[i] = tuple(STATUS[code] for code in arrays["status"])
            seen[i][VISUAL] = features["values"][arrays["ok"]]
        return statuses

    def _clip(self, seen: Mapping[str, np.ndarray]) -> Clip:
        """What the system is given of a piece; a dialogue of one turn, if it reads dialogues."""
        if self.system.in_dialogue:
            return in_dialogue([seen], [""], 0)
        return {view: torch.from_numpy(values) for view, values in seen.items()}

    def spectrograms(self, pieces: Sequence[Piece]) -> Made:
        """What the stage mels makes of each piece (`spectrogram.Mel`)."""
        return made(pieces, "audio", clip_mel, self.contents["mels"], "mels")

    def waveforms(self, pieces: Sequence[Piece]) -> Made:
        """What an encoder of speech hears of each piece (`audio.Waveform`)."""
        settings = waveform_settings(self.contents["mels"], SAMPLE_RATE)
        return made(pieces, "audio", clip_waveform, settings, "waveforms")

    def crops(self, pieces: Sequence[Piece]) -> Made:
        """What the stage frames makes of each piece (`crops.Faces`).

        Raises:
            UserError: the detector's weights cannot be had.
        """
        settings = ready_to_crop(self.contents["frames"])
        return made(pieces, "video", clip_faces, settings, "frames")


def made(
    pieces: Sequence[Piece],
    column: str,
    process: Callable[..., Any],
    settings: dict[str, Any],
    stage: str,
) -> Made:
    """Yield what a stage makes of each piece: arrays by name, or why it cannot be used."""
    rows = [
        {
            column: str(piece.path.resolve().relative_to(ROOT)),
            "start": repr(piece.span[0]) if piece.span else "",
            "end": repr(piece.span[1]) if piece.span else "",
        }
        for piece in pieces
    ]
    with closing(each_clip(rows, column, process, settings, ROOT, stage, LOCAL)) as results:
        for _, result in track(results, len(rows), f"predict {column}", "clips"):
            yield result


def through(
    encode: Encode,
    results: Made,
    name: str,
    pieces: Sequence[Piece],
    skips: list[dict[str, ClipError]],
    modality: str,
) -> Iterator[tuple[int, dict[str, np.ndarray], Mapping[str, np.ndarray]]]:
    """Yield the place of each piece that can be used, its arrays, and their features.

    Args:
        encode: makes the features of the array `name`.
        results: of the pieces, in their order.
        skips: to which is added, under `modality`, why a piece cannot be used.
    """
    waiting: deque[tuple[int, dict[str, np.ndarray]]] = deque()  # for as long as a batch takes

    def usable() -> Iterator[tuple[str, np.ndarray]]:
        for i, (piece, result) in enumerate(zip(pieces, results)):
            if isinstance(result, ClipError):
                skips[i][modality] = result
            else:
                waiting.append((i, result))
                yield str(piece.path), result[name]

    for features in encode(usable()):
        yield *waiting.popleft(), features


def windows(paths: Sequence[Path], window: float, hop: float) -> list[Piece]:
    """Spans of `window` seconds, one every `hop` seconds, of each clip; the last ends with it.

    A clip that is no longer than a window is one piece, whole, as is one whose length cannot be
    told: why it cannot be used is then found by who reads it.

    Raises:
        UserError: a file is a Git LFS pointer.
    """
    pieces: list[Piece] = []
    lengths = of_each(probe_duration, [(path, {}) for path in paths], "predict: lengths")
    for path, length in zip(paths, lengths):
        if isinstance(length, UserError):
            raise length
        if not isinstance(length, float) or length <= window:
            pieces.append(Piece(path))
            continue
        count = math.floor((length - window) / hop + TOLERANCE) + 1
        starts = [number * hop for number in range(count)]
        if length - window - starts[-1] > TOLERANCE * hop:
            starts.append(length - window)
        pieces += [Piece(path, (start, start + window)) for start in starts]
    return pieces
