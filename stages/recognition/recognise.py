"""The emotion of clips that nobody has labelled, exactly as the pipeline would have computed it.

A clip goes through the functions of the stages mels, frames and those of features, in guarded child
processes and with their cache, and then through all classifiers of a bundle.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from stages.corpora.span import Span
from stages.encoders.frozen import Encode, Frozen, freeze_acoustic, freeze_visual
from stages.encoders.speech import SAMPLE_RATE
from stages.extraction.extract import each_clip
from stages.extraction.workers import LOCAL, of_each
from stages.fdan.inference import SpeechClassifier
from stages.media.audio import clip_waveform, waveform_settings
from stages.media.crops import STATUS, clip_faces, ready_to_crop
from stages.media.probe import probe_duration
from stages.media.spectrogram import clip_mel
from stages.recognition.bundle import REMEDY, Bundle, fingerprint
from stages.runtime.errors import ClipError, UserError
from stages.runtime.progress import track
from stages.scoring.calibration import with_temperature
from stages.systems.contract import ACOUSTIC, VISUAL
from stages.systems.named import SYSTEMS

MODALITIES = (ACOUSTIC, VISUAL)
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
            where the voice alone was heard; None where it could not be used.
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
    def knows_faces(self) -> bool:
        """Whether the model was trained on faces, too."""
        system = SYSTEMS[self.contents["system"]]
        return VISUAL in system.modalities(self.contents["settings"])

    def check_modalities(self, modalities: Sequence[str]) -> None:
        """Raise UserError where the model was not trained on one of them."""
        if VISUAL in modalities and not self.knows_faces:
            raise UserError("--modalities: the model was trained on voices alone; leave out visual")

    def recognise(
        self, pieces: Sequence[Piece], modalities: Sequence[str] = (ACOUSTIC,)
    ) -> list[Answer]:
        """An answer for each piece, in their order.

        Of several modalities a piece is told by those that can be used.

        Raises:
            UserError: the model was not trained on a modality, a network's weights cannot be had,
                or the cache of clips cannot be written.
        """
        self.check_modalities(modalities)
        skips: list[dict[str, ClipError]] = [{} for _ in pieces]
        faces: dict[int, np.ndarray] = {}
        statuses: dict[int, tuple[str, ...]] = {}
        lengths: dict[int, float] = {}
        voices: dict[int, np.ndarray] = {}
        if ACOUSTIC in modalities:
            voices, lengths = self._voices(pieces, skips)
        if VISUAL in modalities:
            faces, statuses = self._faces(pieces, skips)
        classifiers = [*self.bundle.final, *self.bundle.folds]
        torch.set_num_threads(1)  # as evaluate; the last bits of a sum depend on it
        found = [classify(classifier, voices, faces) for classifier in classifiers]
        trained_on = set(self.contents["trained_on"])
        answers = []
        for i, piece in enumerate(pieces):
            used = tuple(name for name, of in zip(MODALITIES, (voices, faces)) if i in of)
            if not used:
                nothing = np.empty((0, 0))
                answers.append(Answer(piece, used, None, nothing, None, False, (), skips[i]))
                continue
            shares = np.stack([of[i] for of in found])
            if not np.isfinite(shares).all():
                raise UserError(f"{piece.path}: the model gives no finite probabilities; {REMEDY}")
            mean = shares[: len(self.bundle.final)].mean(0, dtype=np.float64)
            if used == (ACOUSTIC,) and self.contents["temperature"]:  # which was fitted on voices
                mean = with_temperature(mean, self.contents["temperature"])
            answers.append(
                Answer(
                    piece,
                    used,
                    mean,
                    shares[len(self.bundle.final) :],
                    lengths.get(i),
                    i in voices and fingerprint(voices[i]) in trained_on,
                    statuses.get(i, ()),
                    skips[i],
                )
            )
        return answers

    def _voices(
        self, pieces: Sequence[Piece], skips: list[dict[str, ClipError]]
    ) -> tuple[dict[int, np.ndarray], dict[int, float]]:
        """The acoustic features [1, D] of each piece that has some, and the seconds heard of it."""
        voices, seconds = {}, {}
        encoder, mels = self.encoder(ACOUSTIC), self.contents["mels"]
        heard = self.waveforms(pieces) if encoder.waveform else self.spectrograms(pieces)
        rate = SAMPLE_RATE if encoder.waveform else mels["sample_rate"] / mels["hop_length"]
        for i, arrays, features in through(
            encoder.encode, heard, "values", pieces, skips, ACOUSTIC
        ):
            voices[i], seconds[i] = features, len(arrays["values"]) / rate
        return voices, seconds

    def _faces(
        self, pieces: Sequence[Piece], skips: list[dict[str, ClipError]]
    ) -> tuple[dict[int, np.ndarray], dict[int, tuple[str, ...]]]:
        """The visual features [k, D] of each piece that has some, and the status of its frames."""
        faces, statuses = {}, {}
        encode, crops = self.encoder(VISUAL).encode, self.crops(pieces)
        for i, arrays, features in through(encode, crops, "faces", pieces, skips, VISUAL):
            statuses[i] = tuple(STATUS[code] for code in arrays["status"])
            faces[i] = features[arrays["ok"]]
        return faces, statuses

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
) -> Iterator[tuple[int, dict[str, np.ndarray], np.ndarray]]:
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


def classify(
    classifier: nn.Module, voices: dict[int, np.ndarray], faces: dict[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """Probabilities [C] of each piece by its place: of its voice [1, D], faces [k, D] or both."""
    heard = [i for i in voices if i not in faces]
    found: dict[int, np.ndarray] = {}
    if heard:
        x_a = torch.from_numpy(np.concatenate([voices[i] for i in heard]))
        found |= zip(heard, classifier(x_a).numpy())
    for i, seen in faces.items():
        assert isinstance(classifier, SpeechClassifier)  # by `check_modalities`
        voice = torch.from_numpy(voices[i]) if i in voices else None
        found[i] = classifier.with_faces(torch.from_numpy(seen), voice).numpy()
    return found


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
