"""One clip: a voice and a face that speak the same sentence, as an H.264 + AAC mp4 file.

The mouth opens with the loudness of the voice; the head drifts and tilts, the eyes blink
and the expression grows to its full strength within the first third of a second.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stages.synthesis import face as faces
from stages.synthesis import voice as voices

FPS = 25
SAMPLES_PER_FRAME = voices.SAMPLE_RATE // FPS
# The same pictures give the same bytes: mbtree's assembly does not from one run to the next, and
# other assembly rounds as the processor at hand likes.
X264 = {"crf": "22", "preset": "veryfast", "x264-params": "mbtree=0:cpu-independent=1"}
QUIET = 30.0  # dB below the loudest frame, where the mouth is shut


def loudness(speech: np.ndarray) -> np.ndarray:
    """How open the voice asks the mouth to be, 0 to 1, for every video frame [frames].

    Linear in the dB of the frame's RMS, from `QUIET` below the loudest frame up to it.
    """
    frames = speech.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return np.clip((level - level.max()) / QUIET + 1, 0, 1)


def animate(
    expression: faces.Units, opening: np.ndarray, rng: np.random.Generator
) -> list[tuple[faces.Units, faces.Pose]]:
    """The action units and the head pose of every frame of a clip.

    Args:
        expression: action units at full strength.
        opening: [frames], 0 to 1, from `loudness`.
    """
    count = len(opening)
    time = np.arange(count) / FPS
    onset = 0.6 + 0.4 * np.clip(time / 0.35, 0, 1)

    rest = rng.normal(0, (6.0, 3.0, 1.6, 0.03))  # x and y in px, tilt in degrees, scale
    reach = np.abs(rng.normal(0, (3.0, 2.0, 1.2, 0.01)))
    rate, phase = rng.uniform(0.3, 0.9, 4), rng.uniform(0, 2 * np.pi, 4)
    drift = rest + reach * np.sin(2 * np.pi * rate * time[:, None] + phase)
    drift = np.clip(drift, (-20, -9, -6, -0.1), (20, 9, 6, 0.1))

    blink = np.zeros(count)
    if rng.random() < 0.5:
        blink = np.exp(-(((time - rng.uniform(0.2, time[-1])) / 0.06) ** 2))

    track = []
    for i in range(count):
        units = {unit: strength * onset[i] for unit, strength in expression.items()}
        units[26] = 0.65 * units.get(26, 0.0) + 0.35 * opening[i]
        units[45] = blink[i]
        x, y, tilt, scale = (float(value) for value in drift[i])
        track.append((units, faces.Pose(x, y, tilt, 1 + scale)))
    return track


def make_clip(
    path: Path,
    face: faces.Face,
    voice: voices.Voice,
    emotion: str,
    sentence: str,
    seed: np.random.SeedSequence,
) -> None:
    """Write one utterance to `path`. Voice and face vary independently of each other."""
    speaking, looking = (np.random.default_rng(child) for child in seed.spawn(2))
    delivery = voices.vary(voices.DELIVERIES[emotion], speaking)
    speech = voices.speak(voice, delivery, sentence, speaking)
    speech = np.pad(speech, (0, -speech.size % SAMPLES_PER_FRAME))

    expression = faces.vary(faces.EXPRESSIONS[emotion], looking)
    picture = faces.portrait(face, looking)
    track = animate(expression, loudness(speech), looking)
    write(path, (faces.draw(picture, units, pose) for units, pose in track), speech)


def write(path: Path, frames: Iterable[np.ndarray], speech: np.ndarray) -> None:
    """Encode RGB frames and mono speech as mp4, the same bytes each time.

    Args:
        frames: yields uint8 [height, width, 3] at `FPS`.
        speech: float32 [samples] at `voice.SAMPLE_RATE`, as long as the frames.
    """
    # bitexact leaves out dates and version strings; one thread, since x264 decides
    # differently with another number of them.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        video = file.add_stream("libx264", rate=FPS, options=X264)
        video.width, video.height, video.pix_fmt = faces.WIDTH, faces.HEIGHT, "yuv420p"
        video.codec_context.thread_count = 1
        audio = file.add_stream("aac", rate=voices.SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000
        for stream in (video, audio):
            stream.codec_context.flags |= av.codec.context.Flags.bitexact

        packets = []
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            packets += video.encode(frame)
        packets += video.encode(None)

        sound = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = voices.SAMPLE_RATE, 0
        sound.time_base = Fraction(1, voices.SAMPLE_RATE)
        packets += audio.encode(sound) + audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            file.mux(packet)
