"""The test clips of a split once more, distorted, on the way that the stages take.

A clip is decoded once, in a guarded child process, and its waveform kept in the cache of clips;
what a distortion makes of that goes through the functions of the stages mels and acoustic_features,
and the crops of its face through those of visual_features. The settings are those that the files of
features and spectrograms were made with. No face is looked for in a distorted picture: a crop stays
where the face was found. What is said is not distorted, even where it was heard from the voice.
"""

from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from stages.distortion.distortions import FACES, SOUNDS, Face, Sound
from stages.encoders.encode import Arrays
from stages.encoders.frozen import Frozen, freeze_acoustic, freeze_visual
from stages.encoders.speech import SAMPLE_RATE
from stages.extraction.waveforms import waveforms
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.media.audio import check_speech, waveform_settings
from stages.media.spectrogram import log_mel
from stages.runtime.errors import ClipError, UserError
from stages.runtime.paths import features_path, frames_path, mels_path
from stages.runtime.progress import track
from stages.splits.dataset import Features
from stages.systems.contract import ACOUSTIC, MELS, VISUAL

CLEAN = "clean"  # the condition of nothing
Unusable = dict[str, ClipError]


class DistortedClips:
    """The clips of the utterances that are tested.

    Args:
        corpus: that they are of.
        tested: their ids.
        features: of the split.
        views: what a system looks at of them.
        sequences: whether it reads what was encoded before pooling.
        workers: as params.yaml has it.

    Raises:
        UserError: a file cannot be read, or the weights of an encoder cannot be had or are others
            than those of the features.
    """

    def __init__(
        self,
        corpus: str,
        tested: Collection[str],
        features: Features,
        views: Collection[str],
        sequences: bool,
        workers: str,
    ):
        self.corpus, self.tested, self.features = corpus, tested, features
        self.views, self.workers = views, workers
        self.sequences = sequences
        self.encoders = {
            view: self._encoder(view, freeze)
            for view, freeze in ((ACOUSTIC, freeze_acoustic), (VISUAL, freeze_visual))
            if view in views
        }
        threadpool_limits(1)  # as in the child processes of mels: last bits depend on it

    def _encoder(self, modality: str, freeze: Any) -> Frozen:
        path = features_path(modality, self.corpus)
        with open_arrays(path, f"{modality} features") as file:
            settings = read_settings(file)
        source = settings.pop("weights_source")
        encoder: Frozen = freeze(settings, "robustness")
        if encoder.source != source:
            raise UserError(
                f"{path}: was made with {source}, and {encoder.source} is here; run dvc repro, or "
                "put that where the other is"
            )
        return encoder

    def under(self, condition: str) -> tuple[Features, Unusable]:
        """The features of a split with those of its test clips under a condition.

        Args:
            condition: `CLEAN`, or one of `SOUNDS` or `FACES`.

        Returns:
            The features; and of each clip that cannot be used then, why not: it has none.

        Raises:
            UserError: a clip cannot be read, or the cache of clips cannot be written.
        """
        features = self.features
        unusable: Unusable = {}
        sound, face = SOUNDS.get(condition), FACES.get(condition)
        if not face:
            if MELS in self.views:
                mels = dict(self._spectrograms(sound, condition, unusable))
                features = features.with_view(MELS, {}, self._others(MELS) | mels)
            if ACOUSTIC in self.views:
                voices = self._voices(sound, condition, unusable)
                pooled = {name: found["values"][0] for name, found in voices.items()}
                pooled |= self._without_tested(features.acoustic)
                kept = {}
                if self.sequences and features.sequences(ACOUSTIC):
                    kept = {name: found["sequence"] for name, found in voices.items()}
                    kept |= self._others(ACOUSTIC)
                features = features.with_view(ACOUSTIC, pooled, kept)
        if not sound and VISUAL in self.views:
            faces = self._faces(face, condition)
            features = features.with_view(VISUAL, features.visual | faces, {})
        return features, unusable

    def _without_tested(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: of for name, of in values.items() if name not in self.tested}

    def _others(self, view: str) -> dict[str, np.ndarray]:
        """The sequences of what is not tested."""
        return self._without_tested(self.features.sequences(view))

    def _waves(
        self, sample_rate: int, sound: Sound | None, condition: str, unusable: Unusable
    ) -> Generator[tuple[str, np.ndarray], None, None]:
        with open_arrays(mels_path(self.corpus), "mels") as mels:
            settings = waveform_settings(read_settings(mels), sample_rate)
            clips = waveforms(mels, self.corpus, sample_rate, self.workers, self.tested)
            total, label = len(self.tested), f"robustness: {condition}"
            with closing(clips):
                for name, wave in track(clips, total, label, "clips"):
                    heard = sound(wave, sample_rate) if sound else wave
                    try:
                        check_speech(heard, sample_rate, settings["min_seconds"])
                    except ClipError as error:
                        unusable[name] = error
                    else:
                        yield name, heard

    def _spectrograms(
        self, sound: Sound | None, condition: str, unusable: Unusable
    ) -> Iterator[tuple[str, np.ndarray]]:
        with open_arrays(mels_path(self.corpus), "mels") as mels:
            settings = read_settings(mels)
        rate = settings["sample_rate"]
        names = settings.keys() - waveform_settings(settings, rate).keys() - {"augmentation"}
        spectral = {key: settings[key] for key in names}
        with closing(self._waves(rate, sound, condition, unusable)) as waves:
            for name, wave in waves:
                yield name, log_mel(wave, sample_rate=rate, **spectral)

    def _voices(self, sound: Sound | None, condition: str, unusable: Unusable) -> dict[str, Arrays]:
        encoder = self.encoders[ACOUSTIC]
        clips = (
            self._waves(SAMPLE_RATE, sound, condition, unusable)
            if encoder.waveform
            else self._spectrograms(sound, condition, unusable)
        )
        return _by_name(encoder, clips)

    def _faces(self, face: Face | None, condition: str) -> dict[str, np.ndarray]:
        with open_arrays(frames_path(self.corpus), "frames") as frames:
            ids = decode_ids(frames["ids"][...])
            usable = dict(zip(ids, frames["ok"][...]))
            places = [i for i, name in enumerate(ids) if name in self.tested]

            def crops() -> Iterator[tuple[str, np.ndarray]]:
                for i in track(places, len(places), f"robustness: {condition}", "faces"):
                    faces = frames["faces"][i]
                    yield ids[i], face(faces) if face else faces

            found = _by_name(self.encoders[VISUAL], crops())
        return {
            name: of["values"][usable[name]]
            for name, of in found.items()
            if name in self.features.visual
        }


def _by_name(encoder: Frozen, clips: Iterator[tuple[str, np.ndarray]]) -> dict[str, Arrays]:
    """What the encoder makes of each clip, by its id."""
    names = []

    def noted() -> Iterator[tuple[str, np.ndarray]]:
        for name, array in clips:
            names.append(name)
            yield name, array

    found = list(encoder.encode(noted()))
    return dict(zip(names, found))
