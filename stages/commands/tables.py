"""The paper's tables as named experiments: queue one, run the queue, show it.

    python -m stages tables queue table4 [--seeds 5] [-S KEY=VALUE ...]
    dvc queue start
    python -m stages tables show table4 [-S KEY=VALUE ...]

table1, table2   FDAN on SAVEE and on MELD, beside all systems of the paper's Tables 1 and 2
table3           faces of several corpora (Table 3)
table4           the ablation: FDAN_1, FDAN_2, FDAN, and a baseline that sees no faces (Table 4)
grid             alpha x weight_decay of Section 3.2
findings         the ablation, every inference, the paper's alphas and larger ones
learning_rate    judged on the validation part; the test part is not read

Where a corpus of the paper is not in params.yaml's `corpora`, a table runs on the corpora that
params.yaml trains on. An experiment is named after its corpora, protocol and row, so that tables
share what they have in common. -S goes to every row, e.g. -S protocol=speaker -S folds=4.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from dvc.scm import RevError

from stages.commands.compare import compare, read_predictions
from stages.commands.published import ABLATION, MELD, SAVEE, SEVERAL_CORPORA, Reported
from stages.io.paths import METRICS
from stages.runtime.errors import UserError
from stages.runtime.params import read_params

Settings = dict[str, str]


@dataclass(frozen=True)
class Row:
    """What a row is called, and what it changes in params.yaml."""

    name: str
    label: str
    settings: Settings = field(default_factory=dict)


FDAN = Row("fdan", "FDAN")
ABLATIONS = [
    Row("acoustic_only", "acoustic only", {"acoustic_only": "true"}),
    Row("fdan_1", "FDAN_1 (no cross-attention)", {"cross_attention": "false"}),
    Row("fdan_2", "FDAN_2 (alpha 0)", {"alpha": "0"}),
    FDAN,
]
INFERENCES = [
    Row("prototypes", "FDAN, inference prototypes", {"inference": "prototypes"}),
    Row("none", "FDAN, inference none", {"inference": "none"}),
]
ALPHAS = [Row(f"alpha_{a}", f"FDAN, alpha {a}", {"alpha": a}) for a in ("1e-4", "1e-5", "1", "10")]
GRID = [
    Row(f"alpha_{a}-decay_{d}", f"FDAN, alpha {a}, decay {d}", {"alpha": a, "weight_decay": d})
    for a in ("1e-3", "1e-4", "1e-5")
    for d in ("1e-3", "1e-4")
]
RATES = [
    Row(f"rate_{rate}", f"FDAN, learning rate {rate}", {"learning_rate": rate})
    for rate in ("1e-4", "3e-4", "1e-3", "3e-3")
]


@dataclass(frozen=True)
class Table:
    """Rows to measure, each on every task, and the published rows to set them beside.

    Attributes:
        tasks: pairs of visual corpora and acoustic corpus; none: those of params.yaml.
        paired: show the difference of each row from the row FDAN.
        targets: the stages of dvc.yaml to run.
    """

    rows: list[Row]
    tasks: tuple[tuple[tuple[str, ...], str], ...] = ()
    published: list[Reported] = field(default_factory=list)
    paired: bool = False
    targets: tuple[str, ...] = ("evaluate",)


ON_SAVEE, ON_MELD, BOTH = (("savee",), "savee"), (("meld",), "meld"), ("savee", "meld")
WITH_BEST_EPOCH = ("evaluate", "best_test_epoch")
TABLES = {
    "table1": Table([FDAN], (ON_SAVEE,), SAVEE, targets=WITH_BEST_EPOCH),
    "table2": Table([FDAN], (ON_MELD,), MELD, targets=WITH_BEST_EPOCH),
    "table3": Table([FDAN], ((BOTH, "savee"), (BOTH, "meld")), SEVERAL_CORPORA),
    "table4": Table(ABLATIONS, (ON_SAVEE, ON_MELD), ABLATION, paired=True),
    "grid": Table([FDAN, *GRID], paired=True),
    "findings": Table(ABLATIONS + INFERENCES + ALPHAS, paired=True),
    "learning_rate": Table(RATES, targets=("train",)),
}


@dataclass(frozen=True)
class Experiment:
    """One row of a table on one task."""

    name: str
    task: str
    row: Row
    settings: Settings


def experiments(table: Table, extra: Settings) -> list[Experiment]:
    """All experiments of a table, with `extra` settings in every one."""
    params = read_params().model_dump()
    protocol = extra.get("protocol", params["protocol"])
    own = (tuple(params["visual"]), params["acoustic"])
    on_disk = [task for task in table.tasks if {*task[0], task[1]} <= set(params["corpora"])]
    if table is TABLES["table3"] and not on_disk:
        own = (tuple(params["corpora"]), params["acoustic"])
    found = []
    for visual, acoustic in on_disk or [own]:
        chosen = {"visual": f"[{','.join(visual)}]", "acoustic": acoustic} | extra
        faces = re.findall(r"\w+", chosen["visual"])
        parts = [chosen["acoustic"], *(["faces", *faces] if faces != [chosen["acoustic"]] else [])]
        others = sorted(set(extra) - {"visual", "acoustic", "protocol", "folds"})
        tags = [f"{key}_{extra[key]}" for key in others]
        for row in table.rows:
            name = "-".join(["_".join(parts), protocol, *tags, row.name])
            task = f"{chosen['acoustic']} with faces of {', '.join(faces)}, protocol {protocol}"
            settings = chosen | row.settings
            found.append(Experiment(re.sub(r"[^\w.+-]", "_", name), task, row, settings))
    return found


# What a stage leaves when it has run.
WRITES = {"train": "train", "evaluate": "test", "best_test_epoch": "best_test_epoch"}


def dvc_command(*arguments: str) -> subprocess.CompletedProcess:
    """Run dvc and keep what it says on stdout."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True)


def up_to_date(name: str, targets: Sequence[str]) -> bool:
    """Whether an experiment has run all of `targets`.

    Metrics are in git, so that what an experiment has not made it has from the commit before.
    """
    made = [read_metrics(name, WRITES[stage]) for stage in targets]
    return None not in made and len({metrics.get("model") for metrics in made}) == 1


def queue(table: Table, extra: Settings, seeds: int) -> None:
    """Put the experiments of a table that have not run from this commit into DVC's queue.

    Raises:
        UserError: DVC refuses one; it has said why.
    """
    ran = set(dvc_command("exp", "list", "--name-only").stdout.split())
    waiting = set(dvc_command("queue", "status").stdout.split())
    for experiment in experiments(table, extra):
        name = experiment.name
        if name in ran:
            if up_to_date(name, table.targets):
                print(f"{name}: has run; to run it anew: dvc exp remove {name}")
                continue
            dvc_command("exp", "remove", name)
        if name in waiting:
            dvc_command("queue", "remove", name)
        command = ["exp", "run", "--queue", "--allow-missing", "--name", name]
        for key, value in ({"seeds": str(seeds)} | experiment.settings).items():
            command += ["-S", f"{key}={value}"]
        if dvc_command(*command, *table.targets).returncode != 0:
            raise UserError(f"{name}: dvc exp run --queue failed; see its message above")
        print(f"{name}: queued")
    print("to run what is queued: dvc queue start")


def read_metrics(name: str, file: str) -> dict[str, Any] | None:
    """A metrics file of an experiment, None if it has not run or does not have that file."""
    try:
        return json.loads(dvc.api.read(f"{METRICS}/{file}.json", rev=name))
    except (RevError, DvcException, OSError, ValueError):
        return None


def percent(value: float | None) -> str:
    """A share as the paper prints it."""
    return "" if value is None else f"{100 * value:.2f}"


def measure(metrics: dict[str, Any], name: str, interval: str) -> str:
    """A measure in percent with its 95 % interval and its sd over seeds."""
    ends = metrics["ci95"][interval]
    text = f"{percent(metrics[name])} [{100 * ends['low']:.1f}, {100 * ends['high']:.1f}]"
    spread = metrics.get("sd_over_seeds")
    return f"{text} ± {100 * spread[name]:.1f}" if spread else text


def published_rows(table: Table) -> Iterator[list[str]]:
    """The rows that the paper prints, as cells."""
    for row in table.published:
        cells = [f"{value:.2f}" if value is not None else "" for value in row[1:4]]
        yield [row.system, *cells, "", f"reported: {row.source}"]


def label_of(experiment: Experiment, found: Sequence[Experiment]) -> str:
    """What a row is called: its task too, where the table has several."""
    several = len({item.task for item in found}) > 1
    return f"{experiment.row.label}, {experiment.task}" if several else experiment.row.label


def measured_rows(found: Sequence[Experiment]) -> Iterator[list[str]]:
    """The rows that were measured here, as cells; also the best test epoch, where it was made."""
    for experiment in found:
        label = label_of(experiment, found)
        metrics = read_metrics(experiment.name, "test")
        if metrics is None:
            yield [label, "", "", "", "", f"not run ({experiment.name})"]
            continue
        where = (
            f"measured here: {experiment.task}, {metrics['n_folds']} folds, "
            f"{metrics['n_seeds']} seeds, {metrics['backbone']} with {metrics['weights']} weights"
        )
        size = f"{metrics['n_correct']:.1f} of {metrics['n_test']}"
        cells = [
            measure(metrics, "war", "war_wilson"),
            measure(metrics, "uar", "uar_by_utterance"),
            measure(metrics, "w_f1", "w_f1_by_utterance"),
        ]
        yield [label, *cells, size, where]
        best = read_metrics(experiment.name, "best_test_epoch")
        # Of another model it is from the commit before (see `up_to_date`).
        if best is not None and best.get("model") == metrics.get("model", ""):
            cells = [percent(best[name]) for name in ("war", "uar", "w_f1")]
            size = f"{best['n_correct']} of {best['n_test']}"
            yield [f"{label}, best test epoch", *cells, size, best["label"]]


def paired_rows(found: Sequence[Experiment]) -> Iterator[list[str]]:
    """Each measured row against FDAN on the same task, as cells."""
    for experiment in found:
        reference = next(
            (item for item in found if item.row is FDAN and item.task == experiment.task), None
        )
        trained = read_metrics(experiment.name, "train")
        if trained is None:
            continue
        label = label_of(experiment, found)
        lmmd = sum(value for name, value in trained.items() if re.fullmatch(r"lmmd_\d+", name))
        loss = trained["acoustic_loss"] + trained.get("visual_loss", 0) + trained["lmmd_in_loss"]
        terms = ["", ""]
        if lmmd:
            share = trained["lmmd_in_loss"] / loss
            terms = [f"{lmmd:.2f}", f"{trained['lmmd_in_loss']:.2g} ({100 * share:.2g} %)"]
        if reference is None or reference is experiment:
            yield [label, "", "", "", *terms]
            continue
        against = compare(read_predictions(reference.name), read_predictions(experiment.name))
        found_uar = against.measures["uar"]
        low, high = (100 * end for end in found_uar.interval)
        yield [
            label,
            f"{100 * found_uar.difference:+.2f} [{low:+.1f}, {high:+.1f}]",
            "yes" if found_uar.more_than_chance else "no",
            f"{against.only_a} : {against.only_b}, p = {against.mcnemar_p:.2g}",
            *terms,
        ]


def validation_rows(found: Sequence[Experiment]) -> Iterator[list[str]]:
    """What the validation part says of each row, as cells."""
    for experiment in found:
        trained = read_metrics(experiment.name, "train")
        label = label_of(experiment, found)
        if trained is None:
            yield [label, f"not run ({experiment.name})", "", ""]
        else:
            values = (percent(trained["validation_uar"]), f"{trained['validation_loss']:.3f}")
            yield [label, *values, f"{trained['epoch']:.0f}"]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(table: Table, extra: Settings) -> str:
    """The table as Markdown: reported and measured rows, each saying which it is."""
    found = experiments(table, extra)
    if table.targets == ("train",):
        header = ["system", "validation UAR %", "validation loss", "epoch kept"]
        return markdown(header, list(validation_rows(found)))
    header = ["system", "WAR %", "UAR %", "w-F1 %", "correct", "whose figure"]
    parts = [
        markdown(header, [*published_rows(table), *measured_rows(found)]),
        "In brackets 95 % intervals (WAR: Wilson; UAR, w-F1: bootstrap by utterance); ± sd over "
        "seeds. Rows of different corpora or protocols cannot be compared.",
    ]
    if table.tasks and not any({"savee", "meld"} & {item.settings["acoustic"]} for item in found):
        parts.append("SAVEE and MELD are not in params.yaml's corpora: measured on others instead.")
    rows = list(paired_rows(found)) if table.paired else []
    if rows:
        header = [
            "system",
            "UAR minus FDAN's",
            "more than chance",
            "McNemar (FDAN : it)",
            "LMMD",
            "alpha x LMMD (share of the loss)",
        ]
        parts.append(markdown(header, rows))
    return "\n\n".join(parts)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("queue", "show"))
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5, help="replicas a fold (default 5)")
    parser.add_argument("-S", dest="extra", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args(words)
    for item in asked.extra:
        if "=" not in item:
            parser.error(f"-S {item}: not KEY=VALUE")
    extra = dict(item.split("=", 1) for item in asked.extra)
    if asked.action == "queue":
        queue(TABLES[asked.table], extra, asked.seeds)
    else:
        print(show(TABLES[asked.table], extra))
