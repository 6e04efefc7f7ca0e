"""Report: one page to look at and to send, which needs no internet, and the result in three lines.

In:  metrics/details.json, metrics/confusion.csv, metrics/train.json, metrics/curves/*.csv,
     metrics/tsne.csv, metrics/best_test_epoch.json,
     metrics/contact_sheet/<corpus>.png of the corpora that the result is of
Out: metrics/report.html   everything in it, pictures included; the same results, the same bytes
Paper: the confusion matrix is Fig. 4, the t-SNE Fig. 5.

It stands on all other results, so that `dvc repro report` makes all of them, and those of what
params.yaml chooses alone. Contact sheets of corpora that params.yaml no longer names are deleted:
DVC leaves what no stage makes any more.

Run: dvc repro report, or python -m stages.report
"""

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.io.files import read_json, read_table, write_text
from stages.reporting import figures
from stages.runtime.command import run_stage
from stages.runtime.params import WITHOUT_EFFECT, read_params
from stages.runtime.paths import CONTACT_SHEETS, METRICS
from stages.scoring.summary import cautions, circumstances, headline

PAGE = METRICS / "report.html"
TEMPLATE = Path(figures.__file__).with_name("page.html")
CURVES = {  # a table, its heading, and what its values are
    "loss": ("Loss", "cross-entropy"),
    "recall": ("Recall", "UAR"),
    "lmmd": ("Distance of the modalities", "LMMD"),
}


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
    corpora = list(dict.fromkeys([*details["visual"], details["acoustic"]]))
    sheets = {name: CONTACT_SHEETS / f"{name}.png" for name in corpora}
    settings = [pair for pair in flatten(params.model_dump()) if pair[0] not in WITHOUT_EFFECT]
    warnings = cautions(details)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE.name).render(
        headline=headline(details),
        circumstances=circumstances(details),
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
