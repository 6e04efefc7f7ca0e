"""Contact sheet: V1 V2 V3 and the log-Mel spectrogram of one utterance an emotion, to look at.

In:  data/manifest/<corpus>.csv, data/frames/<corpus>.h5, data/mels/<corpus>.h5
Out: metrics/contact_sheet/<corpus>.png

A detector that crops elbows or a spectrogram that is all silence shows here at a glance.

Run: dvc repro contact_sheet@<corpus>, or python -m stages.contact_sheet <corpus>
"""

import numpy as np
from matplotlib.figure import Figure

from stages.corpora.emotions import EMOTIONS
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_table, replacing
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import CONTACT_SHEETS, frames_path, manifest_path, mels_path

COLUMNS = 2  # utterances an emotion
FRAMES = 3


def choose(
    utterances: list[dict[str, str]], visual: set[str], acoustic: set[str]
) -> list[list[str]]:
    """For each emotion up to COLUMNS ids: those with both modalities first, then new speakers."""
    chosen = []
    for emotion in EMOTIONS:
        rows = [row for row in utterances if row["emotion"] == emotion]
        rows = [row for row in rows if row["id"] in visual | acoustic]
        rows.sort(key=lambda row: row["id"] not in visual & acoustic)
        firsts = {row["speaker"]: row["id"] for row in reversed(rows)}.values()
        ids = [row["id"] for row in rows]
        ids.sort(key=lambda item: (item not in visual & acoustic, item not in firsts))
        chosen.append(ids[:COLUMNS])
    return chosen


def draw_sheet(
    corpus: str,
    chosen: list[list[str]],
    faces: dict[str, np.ndarray],
    mels: dict[str, np.ndarray],
    db_range: tuple[float, float],
    step: float,
) -> Figure:
    """One row an emotion, COLUMNS utterances side by side: three faces [S, S, 3] and a mel [T, n].

    Args:
        step: seconds between two columns of a spectrogram.
    """
    widths = ([1.0] * FRAMES + [2.2]) * COLUMNS
    figure = Figure((1.25 * sum(widths), 1.42 * len(EMOTIONS) + 0.5))
    axes = figure.subplots(
        len(EMOTIONS),
        len(widths),
        gridspec_kw={"width_ratios": widths, "wspace": 0.04, "hspace": 0.36},
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    for line, (emotion, ids) in enumerate(zip(EMOTIONS, chosen)):
        axes[line][0].set_ylabel(emotion, fontsize=10)
        for column, name in enumerate(ids):
            left = column * (FRAMES + 1)
            axes[line][left].set_title(name, fontsize=7, loc="left", pad=2)
            for i, crop in enumerate(faces.get(name, [])):
                axes[line][left + i].imshow(crop)
            if name in mels:
                mel = mels[name]
                axes[line][left + FRAMES].imshow(
                    mel.T,
                    origin="lower",
                    aspect="auto",
                    cmap="magma",
                    vmin=db_range[0],
                    vmax=db_range[1],
                )
                axes[line][left + FRAMES].set_title(
                    f"{len(mel) * step:.2f} s, {mel.min():.0f} to {mel.max():.0f} dB",
                    fontsize=7,
                    loc="right",
                    pad=2,
                )
    figure.suptitle(f"{corpus}: V1, V2, V3 and log-Mel spectrogram", fontsize=11, y=0.985)
    figure.subplots_adjust(left=0.03, right=0.995, top=0.935, bottom=0.01)
    return figure


def main(corpus: str) -> None:
    """Draw the sheet of a corpus."""
    params = read_params()
    utterances = read_table(manifest_path(corpus), ["id", "speaker", "emotion"])
    with (
        open_arrays(frames_path(corpus), "frames") as frames,
        open_arrays(mels_path(corpus), "mels") as mels,
    ):
        face_row = {name: i for i, name in enumerate(decode_ids(frames["ids"][...]))}
        mel_row = {name: i for i, name in enumerate(decode_ids(mels["ids"][...]))}
        chosen = choose(utterances, set(face_row), set(mel_row))
        wanted = [name for ids in chosen for name in ids]
        settings = read_settings(mels)
        offsets = mels["offsets"][...]
        figure = draw_sheet(
            corpus,
            chosen,
            {name: frames["faces"][face_row[name]] for name in wanted if name in face_row},
            {
                name: mels["values"][offsets[mel_row[name]] : offsets[mel_row[name] + 1]]
                for name in wanted
                if name in mel_row
            },
            (params.features.db_min, params.features.db_max),
            settings["hop_length"] / settings["sample_rate"],
        )
    with replacing(CONTACT_SHEETS / f"{corpus}.png") as temporary:
        # No software version in the file: the same sheet, the same bytes.
        figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
