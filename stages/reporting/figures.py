"""The figures of the report as text that stands in its HTML: SVG, or a picture as a data URI.

The same tables give the same bytes: no date, and names in the SVG that follow from its content.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from stages.corpora.emotions import EMOTIONS

Rows = Sequence[dict[str, str]]

# Okabe and Ito's colours, which people with any colour vision tell apart; as in .dvc/plots.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
OF_EMOTION = dict(
    zip(EMOTIONS, ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000", "#0072b2", "#56b4e9"))
)
# Of t-SNE: what a modality and role are called, and their marker.
KINDS = {
    ("visual", "train"): ("visual, training", MarkerStyle("+")),
    ("acoustic", "train"): ("acoustic, training", MarkerStyle("o", fillstyle="none")),
    ("acoustic", "test"): ("acoustic, test", MarkerStyle("o")),
}
SHEET_WIDTH = 1300  # pixels; a contact sheet as PNG is a megabyte, as JPEG a fifth of that
QUALITY = 75  # of JPEG


def as_svg(figure: Figure) -> str:
    """The figure as an <svg> element, its text as text."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none"}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", metadata=nothing, bbox_inches="tight", pad_inches=0.05)
    return file.getvalue()[file.getvalue().index("<svg") :]


def draw_confusion(rows: Rows) -> str:
    """The confusion matrix (Fig. 4) of rows actual, predicted, count and share of the true emotion.

    A cell says the share and below it the count; rows without utterances are grey.
    """
    classes = list(dict.fromkeys(row["actual"] for row in rows))
    n = len(classes)
    counts = np.zeros((n, n))
    shares = np.full((n, n), np.nan)
    for row in rows:
        cell = classes.index(row["actual"]), classes.index(row["predicted"])
        counts[cell] = float(row["count"])
        shares[cell] = float(row["share"] or "nan")
    figure = Figure((6.6, 5.4))
    axis = figure.subplots()
    axis.set_facecolor("#e8e8e8")
    cells = axis.pcolormesh(range(n), range(n), shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_aspect("equal")
    axis.invert_yaxis()
    digits = 0 if np.all(counts == counts.round()) else 1
    for i, j in zip(*np.nonzero(counts)):
        share, colour = shares[i, j], "white" if shares[i, j] > 0.6 else "black"
        percent = "<1 %" if share < 0.005 else f"{share:.0%}".replace("%", " %")
        axis.text(j, i - 0.14, percent, ha="center", va="center", color=colour, fontsize=10)
        count = f"{counts[i, j]:.{digits}f}"
        axis.text(j, i + 0.24, count, ha="center", va="center", color=colour, fontsize=7.5)
    axis.set_xticks(range(n), classes, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(n), classes)
    axis.tick_params(length=0)
    axis.set_xlabel("predicted emotion")
    axis.set_ylabel("true emotion")
    bar = figure.colorbar(cells, fraction=0.04, pad=0.03, format=lambda x, _: f"{x * 100:.0f} %")
    bar.set_label("share of the true emotion's utterances")
    bar.outline.set_visible(False)
    axis.spines[:].set_visible(False)
    return as_svg(figure)


def draw_curves(rows: Rows, label: str) -> str:
    """Mean over the replicas, with a band of one sd, of rows epoch, series, mean and sd."""
    figure = Figure((5.2, 3.3))
    axis = figure.subplots()
    for name, colour in zip(dict.fromkeys(row["series"] for row in rows), SERIES):
        of_series = [row for row in rows if row["series"] == name]
        epoch, mean, sd = (
            np.array([float(row[key]) for row in of_series]) for key in ("epoch", "mean", "sd")
        )
        axis.plot(epoch, mean, color=colour, label=name, linewidth=1.4)
        # None of what is shown is below 0, except by its sd.
        axis.fill_between(epoch, (mean - sd).clip(0), mean + sd, color=colour, alpha=0.2, lw=0)
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
    axis.set_ylim(0)
    axis.margins(x=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", color="#e6e6e6")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return as_svg(figure)


def draw_tsne(rows: Rows) -> str:
    """t-SNE before and after the adaptation (Fig. 5): emotion by colour, modality by marker."""
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    figure = Figure((10.4, 4.9))
    axes = figure.subplots(1, len(panels))
    handles = {}
    for axis, panel in zip(axes, panels):
        for kind, (label, marker) in KINDS.items():
            shown = [r for r in rows if (r["panel"], r["modality"], r["role"]) == (panel, *kind)]
            if shown:
                x, y = ([float(row[key]) for row in shown] for key in ("x", "y"))
                colours = [OF_EMOTION[row["emotion"]] for row in shown]
                axis.scatter(x, y, c=colours, s=20, linewidths=0.8, marker=marker)
                handles[label] = Line2D([], [], linestyle="", marker=marker, color="#444444")
        axis.set_title(panel, fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    for emotion in EMOTIONS:
        if any(row["emotion"] == emotion for row in rows):
            handles[emotion] = Line2D([], [], linestyle="", marker="s", color=OF_EMOTION[emotion])
    figure.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        ncols=5,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.1),
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.11, wspace=0.04)
    return as_svg(figure)


def as_jpeg(figure: Figure) -> str:
    """The figure as a data URI, at twice the size at which it is shown, for sharp screens."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    with Image.open(file) as picture:
        return _jpeg_uri(picture.convert("RGB"))


def picture_uri(path: Path) -> str:
    """A picture as a data URI, scaled down and compressed so that the page stays small."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((SHEET_WIDTH, small.height))
    return _jpeg_uri(small)


def _jpeg_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
