"""Excerpts of clips to look at and to listen to: V1 V2 V3, the log-Mel spectrogram, the sound."""

import base64
import io
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import h5py
import librosa
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.corpora.span import Span
from stages.io.arrays import decode_ids
from stages.media.audio import read_audio
from stages.media.crops import JUMP, STATUS
from stages.media.spectrogram import clip_mel
from stages.reporting.figures import as_jpeg
from stages.runtime.errors import ClipError, UserError

DOUBTFUL = 0.5  # certainty below which a face is hardly one
HERTZ = (500, 1000, 2000, 4000, 8000, 16000)
RED, GREY = "#c1121f", "#555555"
FONT = 7.0
SOUND_RATE = 16000  # Hz
SOUND_SECONDS = 5.0  # as FLAC in base64 at most 213 kB, of speech about half of that
SAME_DB = 0.01  # spectrograms of one sound differ by less, whatever the CPU


class Face(NamedTuple):
    """What is known of a clip's faces: arrays over V1 V2 V3 as in the frames file.

    Over V1 alone of a picture.
    """

    row: int
    status: np.ndarray
    certainty: np.ndarray
    jumps: np.ndarray
    still: bool  # V1 V2 V3 are one frame

    @property
    def badness(self) -> tuple[float, float, float]:
        """Frames without a face, then jumps, then uncertainty: the larger, the worse."""
        with_face = self.status == STATUS.index("face")
        least = float(self.certainty[with_face].min(initial=1.0))
        jump = float(self.jumps.max())
        return (float((~with_face).sum()), jump if jump > JUMP else 0.0, 1.0 - least)

    @property
    def bad(self) -> bool:
        """Whether a person should look at it."""
        without, jump, doubt = self.badness
        return without > 0 or jump > 0 or doubt > 1 - DOUBTFUL


def draw_faces(axes: Sequence[Axes], face: Face, crops: np.ndarray) -> None:
    """Three crops [3, S, S, 3] with what is known of each beneath; of a still picture one."""
    for i, (axis, crop) in enumerate(zip(axes, crops)):
        if face.still and i > 0:
            break
        status = STATUS[face.status[i]]
        text, good = f"V{i + 1}  {face.certainty[i]:.2f}", face.certainty[i] >= DOUBTFUL
        if status != "face":
            text, good = f"V{i + 1}  {status.replace('_', ' ')}", False
        elif face.jumps[i] > JUMP:
            text, good = f"{text}, jump {face.jumps[i]:.1f}", False
        if face.still:
            text = text.replace("V1", "still")
        axis.imshow(crop)
        axis.set_frame_on(not good)
        for spine in axis.spines.values():
            spine.set(color=RED, linewidth=1.5)
        axis.set_xlabel(text, fontsize=FONT, color=GREY if good else RED, labelpad=2)


def draw_mel(
    axis: Axes, mel: np.ndarray, settings: Mapping[str, Any], db_range: tuple[float, float]
) -> None:
    """A log-Mel spectrogram [T, n_mels] in dB, with axes in seconds and kHz."""
    step = settings["hop_length"] / settings["sample_rate"]
    bands = mel.shape[1]
    centres = librosa.mel_frequencies(bands + 2, fmin=settings["fmin"], fmax=settings["fmax"])[1:-1]
    hertz = [f for f in HERTZ if centres[0] <= f <= 1.05 * centres[-1]]
    axis.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=db_range[0],
        vmax=db_range[1],
        extent=(0, len(mel) * step, -0.5, bands - 0.5),
    )
    axis.set_frame_on(True)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_yticks(np.interp(hertz, centres, range(bands)), [f"{f / 1000:g}" for f in hertz])
    axis.tick_params(labelsize=FONT - 1, length=2, pad=1.5, color=GREY, labelcolor=GREY)
    axis.set_ylabel("kHz", fontsize=FONT - 1, color=GREY, labelpad=1)
    axis.set_xlabel("s", fontsize=FONT - 1, color=GREY)
    axis.xaxis.set_label_coords(1.02, -0.05)
    axis.set_title(
        f"{len(mel) * step:.2f} s, {round(mel.min())} to {round(mel.max())} dB",
        fontsize=FONT,
        color=GREY,
        loc="right",
        pad=3,
    )


def read_faces(frames: h5py.File) -> dict[str, Face]:
    """What is known of the faces of all clips of an open frames file, by id."""
    ids = decode_ids(frames["ids"][...])
    known = [frames[key][...] for key in ("status", "certainty", "jumps", "times")] if ids else []
    faces = {}
    for row, (name, status, certainty, jumps, times) in enumerate(zip(ids, *known)):
        there = status != STATUS.index("absent")
        still = bool((times == times[0]).all())
        faces[name] = Face(row, status[there], certainty[there], jumps[there], still)
    return faces


def read_mels(mels: h5py.File, wanted: Container[str]) -> dict[str, np.ndarray]:
    """The spectrograms [T, n_mels] of those of the wanted ids that an open mels file has."""
    offsets = mels["offsets"][...]
    return {
        name: mels["values"][offsets[row] : offsets[row + 1]]
        for row, name in enumerate(decode_ids(mels["ids"][...]))
        if name in wanted
    }


def faces_picture(face: Face, crops: np.ndarray) -> str:
    """V1 V2 V3 side by side, as a data URI."""
    figure = Figure((4.2, 1.6))
    boxes = [(i / 3 + 0.005, 0.13, 0.325, 0.86) for i in range(3)]
    axes = [figure.add_axes(box, frame_on=False, xticks=[], yticks=[]) for box in boxes]
    draw_faces(axes, face, crops)
    return as_jpeg(figure)


def mel_picture(mel: np.ndarray, settings: Mapping[str, Any], db_range: tuple[float, float]) -> str:
    """The spectrogram with its axes, as a data URI."""
    figure = Figure((4.2, 1.6))
    draw_mel(figure.add_axes((0.08, 0.13, 0.86, 0.75)), mel, settings, db_range)
    return as_jpeg(figure)


def sound_uri(
    path: Path, span: Span | None, mel: np.ndarray, settings: Mapping[str, Any]
) -> tuple[str, str]:
    """The first seconds of a voice as a data URI, or "" and why there is none.

    It is decoded as the stage mels does, which also shows whether it still is the sound that the
    spectrogram was made of.

    Args:
        mel: of the stage mels, [T, n_mels].
        settings: of the stage mels.
    """
    if not path.exists():
        return "", f"{path} was not there when this page was made"
    try:
        again = clip_mel(path, span=span, **settings).values
        if again.shape != mel.shape or np.abs(again - mel).max() > SAME_DB:
            return "", f"{path} is no longer what the spectrogram was made of"
        wave = read_audio(path, SOUND_RATE, settings["surround"], span=span)
    except ClipError as error:
        return "", f"{path}: {error.detail}"
    except UserError as error:  # it names the file
        return "", str(error)
    flac = to_flac(wave[: int(SOUND_SECONDS * SOUND_RATE)], SOUND_RATE)
    return "data:audio/flac;base64," + base64.b64encode(flac).decode("ascii"), ""


def to_flac(wave: np.ndarray, rate: int) -> bytes:
    """A FLAC file of 16 bits, which all browsers play, of float32 [samples], full scale 1."""
    samples = (wave * 32767).round().clip(-32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
