"""One clip: a voice and a face that speak the same sentence, as an H.264 + AAC mp4 file.

The mouth opens with the loudness of the voice, the head sways, the expression builds up in 0.35 s.
"""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from stages.synthesis import face as faces
from stages.synthesis import voice as voices

FPS = 25
SAMPLES_PER_FRAME = voices.SAMPLE_RATE // FPS
# The same pictures give the same bytes: mbtree's assembly does not from one run to the next, and
# other assembly rounds as the processor at hand likes.
X264 = {"crf": "22", "preset": "veryfast", "x264-params": "mbtree=0:cpu-independent=1"}


@lru_cache
def speaker(index: int, seed: int) -> tuple[faces.Face, np.ndarray, voices.Voice]:
    """A speaker's face, its portrait, and the voice; every other speaker is a woman."""
    rng, female = default_rng([seed, 0, index]), index % 2 == 0
    face = faces.make_face(female, rng)
    return face, faces.portrait(face), voices.make_voice(female, rng)


def make_clip(path: Path, who: int, emotion: str, what: int, seed: int) -> None:
    """Write to `path` how speaker `who` says sentence `what`, the same bytes each time."""
    cv2.setNumThreads(1)
    face, portrait, voice = speaker(who, seed)
    sentence = voices.make_sentence(default_rng([seed, 1, what]))
    entropy = [seed, 2, who, list(voices.DELIVERIES).index(emotion), what]
    speaking, looking = map(default_rng, SeedSequence(entropy).spawn(2))
    delivery = voices.vary(voices.DELIVERIES[emotion], speaking)
    speech = voices.speak(voice, delivery, sentence, speaking)
    speech = np.pad(speech, (0, -speech.size % SAMPLES_PER_FRAME))
    expression = faces.vary(faces.EXPRESSIONS[emotion], looking)
    write(path, animate(face, portrait, expression, speech, looking), speech)


def animate(
    face: faces.Face,
    portrait: np.ndarray,
    expression: faces.Units,
    speech: np.ndarray,
    rng: Generator,
) -> list[np.ndarray]:
    """The frames of a clip, RGB, uint8 [HEIGHT, WIDTH, 3], for speech [samples]."""
    # Shut where a frame is 30 dB below the loudest, and linear in dB from there.
    frames = speech.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    opening = np.clip((level - level.max()) / 30 + 1, 0, 1)
    time = np.arange(len(frames)) / FPS
    onset = 0.6 + 0.4 * np.clip(time / 0.35, 0, 1)
    blink = np.exp(-(((time - rng.uniform(0.2, 2 * time[-1])) / 0.06) ** 2))
    light = rng.uniform(0.93, 1.05)

    # x and y in px, tilt in degrees, scale: where the head rests, and how it sways about there.
    rest, reach = rng.uniform(-1, 1, (2, 4)) * [(10, 5, 3, 0.06), (6, 3, 2, 0.02)]
    rate, phase = rng.uniform(0.3, 0.9, 4), rng.uniform(0, 2 * np.pi, 4)
    sway = rest + reach * np.sin(2 * np.pi * rate * time[:, None] + phase)

    size, images = (faces.WIDTH, faces.HEIGHT), []
    for i, (x, y, tilt, scale) in enumerate(sway.tolist()):
        units = {unit: strength * onset[i] for unit, strength in expression.items()}
        units[26] = 0.65 * units[26] + 0.35 * opening[i]
        units[45] = blink[i]
        painting = faces.draw(portrait, face, units)
        # All of the painting sways, about its lower edge, and becomes half as large.
        place = cv2.getRotationMatrix2D((faces.WIDTH, 2 * faces.HEIGHT), tilt, (1 + scale) / 2)
        place[:, 2] += (x - faces.WIDTH / 2, y - faces.HEIGHT)
        image = cv2.warpAffine(painting, place, size, borderMode=cv2.BORDER_REPLICATE)
        images.append(cv2.convertScaleAbs(image, alpha=light))
    return images


def write(path: Path, images: list[np.ndarray], speech: np.ndarray) -> None:
    """Encode RGB frames and mono speech, float32 [samples], as mp4."""
    # bitexact leaves out dates and versions; x264 decides differently with more than one thread.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        video = file.add_stream("libx264", rate=FPS, options=X264)
        video.width, video.height, video.pix_fmt = faces.WIDTH, faces.HEIGHT, "yuv420p"
        video.codec_context.thread_count = 1
        audio = file.add_stream("aac", rate=voices.SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000
        for stream in (video, audio):
            stream.codec_context.flags |= av.codec.context.Flags.bitexact

        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = voices.SAMPLE_RATE, 0
        sound.time_base = Fraction(1, voices.SAMPLE_RATE)
        file.mux([*video.encode(), *audio.encode(sound), *audio.encode()])
