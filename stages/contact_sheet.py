"""Contact sheet: V1 V2 V3 and the log-Mel spectrogram of some utterances, to look at.

In:  data/manifest/<corpus>.csv, data/frames/<corpus>.h5, data/mels/<corpus>.h5
Out: metrics/contact_sheet/<corpus>.png
       above, utterances drawn at random, of each emotion; below, those whose faces are worst
     metrics/contact_sheet/<corpus>.csv
       every clip with a frame without a face, a jump, or a face that is hardly one, worst first:
       id, status of V1 V2 V3, the least certainty of its faces and the largest jump (crops.Faces)

A detector that crops elbows or a spectrogram that is all silence shows here at a glance.

Run: dvc repro contact_sheet@<corpus>, or python -m stages.contact_sheet <corpus>
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from stages.corpora.emotions import EMOTIONS
from stages.io.arrays import open_arrays, read_settings
from stages.io.files import read_table, replacing, write_table
from stages.media.crops import STATUS
from stages.reporting.excerpts import FONT, GREY, Face, draw_faces, draw_mel, read_faces, read_mels
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import CONTACT_SHEETS, frames_path, manifest_path, mels_path

KINDS = ("video", "audio")  # an utterance of each emotion is drawn for each
WORST = 8
COLUMNS = 2  # utterances side by side
SEED = 0
LONGEST = 48  # characters of an id that have room above its faces
FIRST_ROW, ROW, GAP, LAST_ROW = 1.0, 1.5, 0.48, 0.1  # inches


def draw_lots(utterances: list[dict[str, str]]) -> list[list[str]]:
    """For each emotion the ids of one utterance with a video and one with an audio, at random.

    Whatever became of them: one that was skipped shows as such. Where no other has a video, or an
    audio, one that has none stands in.
    """
    chosen = []
    for number, emotion in enumerate(EMOTIONS):
        generator = np.random.default_rng([SEED, number])
        left = [row for row in utterances if row["emotion"] == emotion]
        ids: list[str] = []
        for kind in KINDS:
            rows = [row for row in left if row[kind]] or left
            if rows:
                row = rows[generator.integers(len(rows))]
                ids.append(row["id"])
                left.remove(row)
        chosen.append(ids)
    return chosen


def worst_first(faces: Mapping[str, Face]) -> list[str]:
    """The ids of all clips by the badness of their faces; of equals in their order."""
    return sorted(faces, key=lambda name: [-value for value in faces[name].badness])


def table(faces: Mapping[str, Face]) -> list[dict[str, Any]]:
    """A row for each clip that a person should look at, worst first."""
    rows = []
    for name in worst_first(faces):
        face = faces[name]
        if face.bad:
            status = " ".join(STATUS[i] for i in face.status)
            least = 1 - face.badness[2] if "face" in status.split() else 0.0
            jump = f"{face.jumps.max():.2f}"
            rows.append({"id": name, "status": status, "certainty": f"{least:.2f}", "jump": jump})
    return rows


def draw_sheet(
    corpus: str,
    parts: Sequence[tuple[str, Sequence[Sequence[str]]]],
    emotions: Mapping[str, str],
    faces: Mapping[str, tuple[Face, np.ndarray]],
    mels: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    db_range: tuple[float, float],
) -> Figure:
    """Parts one below another, in rows of COLUMNS utterances: three faces and a spectrogram each.

    Args:
        parts: heading, and rows of up to COLUMNS ids.
        emotions: of each utterance.
        faces: of utterances that have some, with the crops uint8 [3, S, S, 3].
        mels: of utterances that have one, float32 [T, n_mels].
        settings: of the stage mels.
    """
    inches = FIRST_ROW + LAST_ROW + sum(GAP + ROW * len(rows) for _, rows in parts)
    figure = Figure((13.2, inches))
    figure.text(0.012, 1 - 0.3 / inches, f"{corpus}: faces and voices", fontsize=15, weight="bold")
    figure.text(
        0.012,
        1 - 0.58 / inches,
        "V1 V2 V3 with the certainty of the face detector (1: a clear face), and the log-Mel "
        "spectrogram. Red: no face, a face that is hardly one, or a jump by more than its width.",
        fontsize=FONT + 1.5,
        color=GREY,
    )
    bar = figure.add_axes((0.84, 1 - 0.36 / inches, 0.145, 0.1 / inches))
    scale = ScalarMappable(Normalize(*db_range), "magma")
    figure.colorbar(scale, cax=bar, orientation="horizontal").set_label("dB", fontsize=FONT)
    bar.tick_params(labelsize=FONT, length=2, pad=1)
    top = FIRST_ROW - 0.2
    for heading, rows in parts:
        figure.text(0.012, 1 - (top + 0.1) / inches, heading, fontsize=11, weight="bold")
        top += GAP
        for ids in rows:
            for column, name in enumerate(ids):
                cell = (0.012 + 0.498 * column, 1 - (top + 1.05) / inches, 1.05 / inches)
                short = name if len(name) <= LONGEST else f"{name[:30]}...{name[33 - LONGEST :]}"
                title = f"{emotions[name].capitalize()}: {short}"
                _draw_utterance(
                    figure, cell, title, faces.get(name), mels.get(name), settings, db_range
                )
            top += ROW
    return figure


def _draw_utterance(
    figure: Figure,
    cell: tuple[float, float, float],
    title: str,
    faces: tuple[Face, np.ndarray] | None,
    mel: np.ndarray | None,
    settings: Mapping[str, Any],
    db_range: tuple[float, float],
) -> None:
    """One utterance in a cell: its left and lower edge and its height, as shares of the figure."""
    left, bottom, height = cell
    boxes = [(left + 0.083 * i, bottom, 0.0795, height) for i in range(3)]
    boxes.append((left + 0.278, bottom, 0.188, height))
    *thirds, voice = (figure.add_axes(box, frame_on=False, xticks=[], yticks=[]) for box in boxes)
    thirds[0].set_title(title, fontsize=FONT + 1, loc="left", pad=4)
    if faces:
        draw_faces(thirds, *faces)
    else:
        thirds[1].text(0.5, 0.5, "no faces", ha="center", color=GREY, fontsize=FONT + 1)
    if mel is not None:
        draw_mel(voice, mel, settings, db_range)
    else:
        voice.text(0.5, 0.5, "no spectrogram", ha="center", color=GREY, fontsize=FONT + 1)


def main(corpus: str) -> None:
    """Draw the sheet of a corpus and write the table beside it."""
    params = read_params()
    utterances = read_table(manifest_path(corpus), ["id", "emotion", *KINDS])
    emotions = {row["id"]: row["emotion"] for row in utterances}
    with (
        open_arrays(frames_path(corpus), "frames") as frames,
        open_arrays(mels_path(corpus), "mels") as mels,
    ):
        faces = read_faces(frames)
        lots, rows = draw_lots(utterances), table(faces)
        worst = worst_first(faces)[:WORST]
        wanted = {name for ids in [*lots, worst] for name in ids}
        pairs = [worst[i : i + COLUMNS] for i in range(0, len(worst), COLUMNS)]
        figure = draw_sheet(
            corpus,
            [
                ("Drawn at random: two utterances of each emotion", [ids for ids in lots if ids]),
                (
                    f"Worst faces first: {len(rows)} of {len(faces)} clips have a frame without a "
                    f"face, a jump or a doubtful face (metrics/contact_sheet/{corpus}.csv)",
                    pairs,
                ),
            ],
            emotions,
            {
                name: (face, frames["faces"][face.row])
                for name, face in faces.items()
                if name in wanted
            },
            read_mels(mels, wanted),
            read_settings(mels),
            (params.encoders.acoustic.db_min, params.encoders.acoustic.db_max),
        )
    write_table(CONTACT_SHEETS / f"{corpus}.csv", ["id", "status", "certainty", "jump"], rows)
    with replacing(CONTACT_SHEETS / f"{corpus}.png") as temporary:
        # No software version in the file: the same sheet, the same bytes.
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    print(f"contact_sheet@{corpus}: {len(rows)} of {len(faces)} clips with faces to look at")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
