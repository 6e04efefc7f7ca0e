"""Report: one page to look at, which needs no internet, and the result in three lines.

In:  metrics/details.json, metrics/predictions.csv, metrics/confusion.csv, metrics/train.json,
     metrics/curves/*.csv, metrics/tsne.csv, metrics/best_test_epoch.json, data/split.json;
     metrics/contact_sheet/<corpus>.png and data/skipped/<corpus>.*.csv of the corpora that the
     result is of; of the tested one data/manifest/, data/frames/ and data/mels/, and, where they
     are there, its clips in data/raw/
Out: metrics/report.html   everything in it, pictures and sounds included
Paper: the confusion matrix is Fig. 4, the t-SNE Fig. 5.

The same results of the same code give the same bytes. The clips are no dep in dvc.yaml, so that
this stage runs where only results were pulled: that a clip still is what its spectrogram was made
of is checked here, and the page says which sounds it lacks.

It stands on all other results, so that `dvc repro report` makes all of them, and those of what
params.yaml chooses alone. Contact sheets of corpora that params.yaml no longer names are deleted:
DVC leaves what no stage makes any more.

Run: dvc repro report, or python -m stages.report
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.span import used_part
from stages.io.arrays import open_arrays, read_settings
from stages.io.files import read_json, read_table, write_text
from stages.io.skips import EXCLUDED_BY_RULE, table_path
from stages.reporting import excerpts, figures
from stages.reporting.statements import leak_statements, read_revision
from stages.runtime.command import run_stage
from stages.runtime.params import WITHOUT_EFFECT, read_params
from stages.runtime.paths import (
    CONTACT_SHEETS,
    METRICS,
    PREDICTIONS,
    RAW,
    SPLIT_SUMMARY,
    frames_path,
    manifest_path,
    mels_path,
)
from stages.scoring.summary import cautions, circumstances, headline, tested_corpus

PAGE = METRICS / "report.html"
TEMPLATE = Path(figures.__file__).with_name("page.html")
CURVES = {  # a table, its heading, and what its values are
    "loss": ("Loss", "cross-entropy"),
    "recall": ("Recall", "UAR"),
    "lmmd": ("Distance of the modalities", "LMMD"),
}

N_WRONG = 6  # clips that are shown as most surely wrong
N_SKIPPED = 100  # clips that are named as skipped
LONG = 30  # rows from which a table is folded


class Wrong(NamedTuple):
    """A test utterance that is predicted wrongly, by the mean of its probabilities over the seeds.

    Attributes:
        actual, predicted: emotions.
        probabilities: of the likeliest emotions and of the actual one, highest first.
    """

    id: str
    speaker: str
    actual: str
    predicted: str
    probabilities: list[tuple[str, float]]


def surely_wrong(predictions: Sequence[dict[str, str]]) -> list[Wrong]:
    """The most surely wrong, one for each speaker and pair of emotions at most.

    Args:
        predictions: rows of metrics/predictions.csv.
    """
    found = []
    by_id: dict[str, list[dict[str, str]]] = {}
    for row in predictions:
        by_id.setdefault(row["id"], []).append(row)
    for name, rows in by_id.items():
        mean = np.mean([[float(row[code]) for code in CODES] for row in rows], 0)
        ranked = sorted(zip(EMOTIONS, mean.tolist()), key=lambda pair: -pair[1])
        actual = EMOTIONS[CODES.index(rows[0]["actual"])]
        if ranked[0][0] != actual:
            shown = [pair for i, pair in enumerate(ranked) if i < 3 or pair[0] == actual]
            found.append(Wrong(name, rows[0]["speaker"], actual, ranked[0][0], shown))
    first: dict[tuple[str, str, str], Wrong] = {}
    for wrong in sorted(found, key=lambda wrong: (-wrong.probabilities[0][1], wrong.id)):
        first.setdefault((wrong.speaker, wrong.actual, wrong.predicted), wrong)
    return list(first.values())[:N_WRONG]


def excerpts_of(
    corpus: str, ids: Sequence[str], db_range: tuple[float, float]
) -> dict[str, dict[str, str]]:
    """What there is to see and hear of some utterances, by id.

    Returns:
        Data URIs `faces`, `spectrogram` and `sound`, each "" where there is none, and `missing`:
        why there is no sound.
    """
    found: dict[str, dict[str, str]] = {}
    rows = {row["id"]: row for row in read_table(manifest_path(corpus), ["audio", "start", "end"])}
    with (
        open_arrays(frames_path(corpus), "frames") as frames,
        open_arrays(mels_path(corpus), "mels") as file,
    ):
        faces, mels = excerpts.read_faces(frames), excerpts.read_mels(file, ids)
        settings = read_settings(file)
        for name in ids:
            face, row = faces.get(name), rows[name]
            path = RAW / corpus / row["audio"]
            span = used_part(row, "audio").get("span")
            sound, missing = excerpts.sound_uri(path, span, mels[name], settings)
            found[name] = {
                "faces": excerpts.faces_picture(face, frames["faces"][face.row]) if face else "",
                "spectrogram": excerpts.mel_picture(mels[name], settings, db_range),
                "sound": sound,
                "missing": missing,
            }
    return found


def skipped_clips(visual: Sequence[str], acoustic: Sequence[str]) -> list[dict[str, str]]:
    """The rows of the skip tables that are of clips which could not be used."""
    stages = [(corpus, "manifest") for corpus in dict.fromkeys([*visual, *acoustic])]
    stages += [(corpus, "frames") for corpus in visual]
    stages += [(corpus, "mels") for corpus in acoustic]
    return [
        row
        for corpus, stage in stages
        for row in read_table(table_path(corpus, stage), ["id", "stage", "code", "detail"])
        if row["code"] not in EXCLUDED_BY_RULE
    ]


def flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested values as pairs of a dotted key and a value."""
    pairs = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += flatten(value, f"{prefix}{key}.")
        else:
            pairs.append(
                (f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else value)
            )
    return pairs


def remove_old_sheets(corpora: list[str]) -> None:
    """Delete the contact sheets, and their tables, of corpora that are not among `corpora`."""
    for path in sorted(CONTACT_SHEETS.glob("*.*")):
        if path.stem not in corpora:
            path.unlink()
            print(f"report: {path}: deleted, as {path.stem} is not in params.yaml's corpora")


def main() -> None:
    """Write the page, and say what came out, where to look and what to type next."""
    params = read_params()
    remove_old_sheets(params.corpora)
    details = read_json(METRICS / "details.json")
    curves = {name: read_table(METRICS / f"curves/{name}.csv") for name in CURVES}
    places = read_table(METRICS / "tsne.csv")
    tested = tested_corpus(details)
    heard = list(dict.fromkeys([details["acoustic"], tested]))
    corpora = list(dict.fromkeys([*details["visual"], *heard]))
    sheets = {name: CONTACT_SHEETS / f"{name}.png" for name in corpora}
    split = read_json(SPLIT_SUMMARY, ["suspected_copies", "validated_by"])
    wrong = surely_wrong(read_table(PREDICTIONS))
    db_range = params.encoders.acoustic.db_min, params.encoders.acoustic.db_max
    skipped = skipped_clips(details["visual"], heard)
    settings = [pair for pair in flatten(params.model_dump()) if pair[0] not in WITHOUT_EFFECT]
    warnings = cautions(details)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(
        TEMPLATE.name
    ).render(
        headline=headline(details),
        circumstances=circumstances(details),
        corpus=" to ".join(heard),
        cautions=warnings,
        details=details,
        train=read_json(METRICS / "train.json"),
        best=read_json(METRICS / "best_test_epoch.json"),
        confusion=figures.draw_confusion(read_table(METRICS / "confusion.csv")),
        curves=[
            (title, figures.draw_curves(curves[name], label))
            for name, (title, label) in CURVES.items()
            if curves[name]  # no LMMD without the visual modality, and none without epochs
        ],
        tsne=figures.draw_tsne(places) if places else "",  # where a system makes features
        wrong=wrong,
        excerpts=excerpts_of(tested, [item.id for item in wrong], db_range),
        seconds=excerpts.SOUND_SECONDS,
        corpora=corpora,
        skipped=skipped[:N_SKIPPED],
        n_more_skipped=len(skipped) - len(skipped[:N_SKIPPED]),
        leaks=leak_statements(details, split),
        revision=read_revision(),
        long=LONG,
        sheets={name: figures.picture_uri(path) for name, path in sheets.items()},
        left_out=flatten({"skipped": details["skipped"], "by rule": details["excluded"]}),
        settings=settings,
    )
    write_text(PAGE, page)

    print(headline(details))
    print(circumstances(details))
    for caution in warnings:
        print(f"Caution: {caution}")
    print(f"Look at {PAGE}.")
    # DVC says so to what it runs in an experiment.
    if "DVC_EXP_NAME" in os.environ:
        print("Next: python -m stages compare HEAD    (does it differ significantly?)")
    else:
        print("Next: dvc exp run -S alpha=1e-4    (or any other setting of params.yaml)")


if __name__ == "__main__":
    run_stage(main, __doc__)
