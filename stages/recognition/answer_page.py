"""What is known of a clip, as HTML for people: stages/recognition/answer.html, filled in.

No file is written, and the HTML asks for none: its pictures are SVG and data URIs.
"""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from stages.corpora.emotions import EMOTIONS
from stages.extraction.workers import of_each
from stages.media.crops import CROPS, JUMP, STATUS
from stages.media.video import sample_frames
from stages.recognition.recognise import (
    ACOUSTIC,
    VISUAL,
    Answer,
    Piece,
    Recogniser,
    windows,
)
from stages.reporting.excerpts import draw_mel
from stages.reporting.figures import OF_EMOTION, as_svg
from stages.runtime.errors import ClipError, UserError

WINDOW, HOP = 3.0, 1.0  # seconds, of emotion over time
PICTURE_SIDE = 480  # pixels
PICTURE_QUALITY = 85
WITHOUT_FACE = {
    "centre_crop": "no face found, so its centre is used",
    "nearest": "no face found, so that of the nearest frame is used",
    "missing": "no face found, so it is left out",
}
TEMPLATE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("answer.html")


def pages(recogniser: Recogniser, clip: Path, modalities: Sequence[str]) -> Iterator[str]:
    """Yield HTML of what is known of a clip: of all of it, then, of a long one, also over time.

    Of a clip that cannot be used it says why, in one line.

    Raises:
        UserError: as `Recogniser.recognise`.
    """
    piece = Piece(clip)
    (whole,) = recogniser.recognise([piece], modalities)
    if whole.probabilities is None:
        yield problem(clip.name, "; ".join(dict.fromkeys(map(reason, whole.skips.values()))))
        return
    known: dict[str, Any] = {
        "name": clip.name,
        "told_by": " and ".join({ACOUSTIC: "voice", VISUAL: "faces"}[m] for m in whole.modalities),
        "calibrated": recogniser.calibrated(whole.modalities),
        "shares": ranked(whole),
        "agree": round(whole.agreement() * len(whole.folds)),
        "folds": len(whole.folds),
        "colours": OF_EMOTION,
        "trained_on": whole.trained_on,
        "skips": {name: reason(why) for name, why in whole.skips.items()},
        "pictures": [],
        "no_pictures": "",
        "spectrogram": "",
        "heard_in_part": 0,
        "course": "",
        "coming": 0,
    }
    mel = next(recogniser.spectrograms([piece]))
    if not isinstance(mel, ClipError):
        known["spectrogram"] = draw_spectrogram(mel["values"], recogniser.contents)
        longest = recogniser.contents["mels"]["max_seconds"]
        known["heard_in_part"] = longest if whole.seconds and whole.seconds >= longest else 0
    if VISUAL in recogniser.learned_from:
        known |= seen(recogniser, piece)
    if whole.seconds is not None and whole.seconds <= WINDOW and not known["heard_in_part"]:
        yield TEMPLATE.render(known)
        return
    shortest, longest = (recogniser.contents["mels"][f"{end}_seconds"] for end in ("min", "max"))
    known["window"], known["hop"] = min(max(WINDOW, shortest), longest), HOP
    spans = windows([clip], known["window"], HOP)
    if len(spans) > 1:
        yield TEMPLATE.render(known | {"coming": len(spans)})
        answers = recogniser.recognise(spans, modalities)
        known["course"] = draw_course(answers)
        known["unused"] = unused(answers)
    yield TEMPLATE.render(known)


def problem(name: str, why: str) -> str:
    """One line of HTML: what is wrong with a clip."""
    return f'<p class="problem"><b>{html.escape(name)}</b>: {html.escape(why)}</p>'


def reason(why: ClipError) -> str:
    """Its code and its detail."""
    return f"{why.code}: {why.detail}"


def ranked(answer: Answer) -> list[tuple[str, float, int]]:
    """Emotions by their probability, each with it and with how many folds' models say so.

    One that no model was trained on, whose probability is exactly 0, is not among them.
    """
    assert answer.probabilities is not None
    votes = np.bincount(answer.folds.argmax(1), minlength=len(EMOTIONS))
    order = np.argsort(-answer.probabilities, kind="stable")
    return [
        (EMOTIONS[i], float(answer.probabilities[i]), int(votes[i]))
        for i in order
        if answer.probabilities[i] > 0 or answer.folds[:, i].any()
    ]


def seen(recogniser: Recogniser, piece: Piece) -> dict[str, Any]:
    """V1 V2 V3 with the face that was found in each, or why there are none, for the template."""
    faces = next(recogniser.crops([piece]))
    if isinstance(faces, ClipError):
        return {"no_pictures": reason(faces)}
    (frames,) = of_each(sample_frames, [(piece.path, {"count": CROPS})], "demo: frames")
    if isinstance(frames, UserError):
        raise frames
    if isinstance(frames, ClipError):  # by another decoder than the one that gave its crops
        return {"no_pictures": reason(frames)}
    return {"pictures": pictures(frames.images, faces)}


def pictures(images: np.ndarray, faces: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """For the template: of each frame a data URI, its size, the square used, what is known of it.

    Args:
        images: uint8 [3, H, W, 3] RGB; of a still picture one is shown.
        faces: the arrays of `crops.Faces`.
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    centre = ((width - side) // 2, (height - side) // 2, side, side)
    shown = []
    for i, image in enumerate(images):
        status = STATUS[faces["status"][i]]
        x1, y1, x2, y2 = faces["boxes"][i, :4].tolist()
        box = {"face": (x1, y1, x2 - x1, y2 - y1), "centre_crop": centre}.get(status)
        text = WITHOUT_FACE.get(status) or f"a face, certainty {faces['certainty'][i]:.2f}"
        if faces["jumps"][i] > JUMP:
            text += ", far from the one before: is it the same person?"
        small = Image.fromarray(image)
        small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=PICTURE_QUALITY)
        uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
        shown.append(
            {"uri": uri, "width": width, "height": height, "box": box, "text": text,
             "found": status == "face", "time": float(faces["times"][i])}
        )  # fmt: skip
    still = len(shown) > 1 and bool((faces["times"] == faces["times"][0]).all())
    return shown[:1] if still else shown


def draw_spectrogram(mel: np.ndarray, contents: Mapping[str, Any]) -> str:
    """The log-Mel spectrogram float32 [T, n_mels] in dB as <svg>, with seconds and kHz."""
    figure = Figure((6.4, 1.9))
    shown = contents["encoders"]["acoustic"]
    draw_mel(figure.subplots(), mel, contents["mels"], (shown["db_min"], shown["db_max"]))
    return as_svg(figure)


def unused(answers: Sequence[Answer]) -> dict[str, int]:
    """Of the windows that could not be used, how many for each reason."""
    counts: dict[str, int] = {}
    for answer in answers:
        if answer.probabilities is None:
            for why in answer.skips.values():
                counts[why.code] = counts.get(why.code, 0) + 1
    return counts


def draw_course(answers: Sequence[Answer]) -> str:
    """Probabilities over time as <svg>, one above the other; a window that has none is left white.

    Windows overlap: each stands for the time that is nearer to its middle than to that of others.

    Args:
        answers: of spans in their order.
    """
    spans = np.array([answer.piece.span for answer in answers])
    middles = spans.mean(1)
    edges = np.concatenate([[spans[0, 0]], (middles[1:] + middles[:-1]) / 2, [spans[-1, 1]]])
    none = np.zeros(len(EMOTIONS))
    shares = np.array([none if a.probabilities is None else a.probabilities for a in answers])
    tops = shares.cumsum(1)
    told = shares.any(0)
    figure = Figure((6.4, 2.0))
    axis = figure.subplots()
    for i in np.flatnonzero(told):
        axis.stairs(
            tops[:, i],
            edges,
            baseline=tops[:, i] - shares[:, i],
            fill=True,
            color=OF_EMOTION[EMOTIONS[i]],
            label=EMOTIONS[i],
        )
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xlabel("s", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1),
        ncols=max(1, int(told.sum())), handlelength=1, columnspacing=1,
    )  # fmt: skip
    return as_svg(figure)
