"""Tables: the paper's tables as named experiments; queue one, run the queue, show it.

    python -m stages tables queue table4 [--seeds 5] [--only ROW,ROW] [-S KEY=VALUE ...]
    dvc queue start
    python -m stages tables show table4 [--only ROW,ROW] [-S KEY=VALUE ...]

table1, table2   every system of the paper's Tables 1 and 2 that can be run, on SAVEE and on MELD,
                 under protocols paper and speaker (MELD: official, too), beside what is reported
table3           visual samples of several corpora (Table 3)
table4           the ablation: FDAN_1, FDAN_2, FDAN and an acoustic-only baseline (Table 4)
grid             alpha x weight_decay of Section 3.2
floor            majority, nearest neighbours, a linear probe: what FDAN must beat on the same folds
query_tokens     their ablation: no modality masking, no queries, each modality alone
findings         the ablation, every inference, the paper's alphas and larger ones
learning_rate    compared on the validation part; the test part is not read

Where a corpus of the paper is not in params.yaml's `corpora`, a table runs on the corpora that
params.yaml trains on. An experiment is named after its corpora, protocol and row, so that tables
share what they have in common. -S goes to every row, e.g. -S protocol=speaker -S folds=4. --only
takes some of the rows, each by the end of its experiment's name, e.g. --only gm_tcnet,fdan.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dvc.api
from dvc.exceptions import DvcException
from dvc.scm import RevError
from ruamel.yaml import YAML
from tabulate import tabulate

from stages.commands.compare import Comparison, compare, read_predictions
from stages.commands.published import (
    ABLATION,
    CANNOT_BE_RUN,
    MELD,
    NOTES,
    SAVEE,
    SEVERAL_CORPORA,
    Reported,
)
from stages.commands.revisions import check_git
from stages.runtime.errors import UserError, one_line
from stages.runtime.params import read_params
from stages.runtime.paths import METRICS, MODEL
from stages.scoring.intervals import LEVEL
from stages.scoring.paired import holm
from stages.scoring.summary import classes_in_words, encoders_in_words

Settings = dict[str, str]
Only = Sequence[str] | None  # names of the rows to take of a table, None for all
# The file of a stage that is read here.
SHOWN = {"train": "train", "evaluate": "details", "best_test_epoch": "best_test_epoch"}


class Row(NamedTuple):
    """What a row is called, and what it changes in params.yaml."""

    name: str
    label: str
    settings: Settings


FDAN = Row("fdan", "FDAN", {})
ABLATIONS = [
    Row("acoustic_only", "acoustic only", {"acoustic_only": "true"}),
    Row("fdan_1", "FDAN_1 (no cross-attention)", {"cross_attention": "false"}),
    Row("fdan_2", "FDAN_2 (alpha 0)", {"alpha": "0"}),
    FDAN,
]
INFERENCES = [Row(i, f"FDAN, inference {i}", {"inference": i}) for i in ("prototypes", "none")]
ALPHAS = [Row(f"alpha_{a}", f"FDAN, alpha {a}", {"alpha": a}) for a in ("1e-4", "1e-5", "1", "10")]
BELOW = [
    Row("majority", "majority", {"system": "majority"}),
    Row("knn", "nearest neighbours", {"system": "knn"}),
    Row("linear_probe", "linear probe", {"system": "linear_probe"}),
]
FINE_TUNED = [
    Row(name, label, {"system": name, "finetuned.weights": "imagenet"})
    for label in ("VGG-16", "VGG-19", "ResNet-18", "ResNet-34", "ResNet-50")
    for name in (label.replace("-", "").lower(),)
]
# The spectrograms that librosa makes unless told otherwise, of which these systems take MFCCs.
LIBROSA = {
    "mels.sample_rate": "22050",
    "mels.n_fft": "2048",
    "mels.win_length": "2048",
    "mels.hop_length": "512",
    "mels.fmin": "0.0",
    "mels.fmax": "11025.0",
}
# What is computed from the sound before anything is learned stands among the encoders.
TWINE_SHUF_PAT = {
    "encoders.acoustic.name": "twine_shuf_pat",
    "encoders.acoustic.weights": "published",
}
HAND_FEATURES = {
    "encoders.acoustic.name": "hand_features",
    "encoders.acoustic.weights": "published",
    "encoders.acoustic.sequences": "true",
}
BY_EAR = [
    Row("inca", "INCA, in the manner of", {"system": "inca"} | TWINE_SHUF_PAT),
    Row("gm_tcnet", "GM-TCNet", {"system": "gm_tcnet"} | LIBROSA),
    Row("tim_net", "TIM-Net", {"system": "tim_net"} | LIBROSA),
    Row("tf_mix", "TF-Mix, in the manner of", {"system": "tf_mix"} | HAND_FEATURES),
]
TEXT = {"encoders.linguistic.name": "all-MiniLM-L6-v2"}
SEQUENCES = TEXT | {"encoders.linguistic.sequences": "true"}
# Without faces, which cannot be tested where speakers are trained on, as by MELD's official parts.
BY_TEXT_TOO = [
    Row(name, label, {"system": name, f"{name}.modalities": "[acoustic,linguistic]"} | encoder)
    for name, label, encoder in (
        ("sdt", "SDT, features ours", TEXT),
        ("cadf", "CADF, in the manner of", SEQUENCES),
        ("query_tokens", "emotion query tokens", SEQUENCES),
    )
]
# With the modalities and encoders of params.yaml.
TOKENS = Row("tokens", "query tokens", {"system": "query_tokens"})
MODALITIES = "query_tokens.modalities"
TOKEN_ABLATIONS = [
    Row(f"{TOKENS.name}-{name}", label, TOKENS.settings | changes)
    for name, label, changes in (
        ("no_masking", "no modality masking", {"query_tokens.masking": "0"}),
        ("no_queries", "no queries, the mean instead", {"query_tokens.queries": "0"}),
        ("acoustic", "acoustic alone", {MODALITIES: "[acoustic]"}),
        ("linguistic", "linguistic alone", {MODALITIES: "[linguistic]"}),
        ("visual", "visual alone", {MODALITIES: "[visual]"}),
    )
]
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
        protocols: by each of which everything is measured; none: that of params.yaml.
        paired: the row from which the difference of each other is shown.
        targets: the stages of dvc.yaml to run.
    """

    rows: list[Row]
    tasks: tuple[tuple[tuple[str, ...], str], ...] = ()
    protocols: tuple[str, ...] = ()
    published: list[Reported] = field(default_factory=list)
    paired: Row | None = None
    targets: tuple[str, ...] = ("evaluate",)

    @property
    def settings(self) -> Settings:
        """What its targets need to be set."""
        return {"best_test_epoch": "true"} if "best_test_epoch" in self.targets else {}


ON_SAVEE, ON_MELD, BOTH = (("savee",), "savee"), (("meld",), "meld"), ("savee", "meld")
WITH_BEST_EPOCH = ("evaluate", "best_test_epoch")
# The folds of a protocol where a table names the protocol: SAVEE has four speakers.
FOLDS = {"paper": "5", "speaker": "4", "official": "1"}
TABLES = {
    "table1": Table(
        [*FINE_TUNED, *BY_EAR, *BELOW, FDAN],
        (ON_SAVEE,),
        ("paper", "speaker"),
        SAVEE,
        paired=FDAN,
        targets=WITH_BEST_EPOCH,
    ),
    "table2": Table(
        [*FINE_TUNED, *BY_TEXT_TOO, *BELOW, FDAN],
        (ON_MELD,),
        ("paper", "speaker", "official"),
        MELD,
        paired=FDAN,
        targets=WITH_BEST_EPOCH,
    ),
    "table3": Table([FDAN], ((BOTH, "savee"), (BOTH, "meld")), published=SEVERAL_CORPORA),
    "table4": Table(ABLATIONS, (ON_SAVEE, ON_MELD), published=ABLATION, paired=FDAN),
    "floor": Table([*BELOW, FDAN], paired=FDAN),
    "query_tokens": Table([TOKENS, *TOKEN_ABLATIONS], paired=TOKENS),
    "grid": Table([FDAN, *GRID], paired=FDAN),
    "findings": Table(ABLATIONS + INFERENCES + ALPHAS, paired=FDAN),
    "learning_rate": Table(RATES, targets=("train",)),
}


class Experiment(NamedTuple):
    """One row of a table on one task; `label` names the task too where the table has several."""

    name: str
    label: str
    task: str
    row: Row
    settings: Settings


def experiments(table: Table, extra: Settings, only: Only = None) -> list[Experiment]:
    """The experiments of a table, with `extra` settings in every one.

    Raises:
        UserError: the table has no row of a name in `only`.
    """
    params = read_params()
    own = (tuple(params.visual), params.acoustic)
    tasks = [task for task in table.tasks if {*task[0], task[1]} <= set(params.corpora)]
    if table is TABLES["table3"] and not tasks:
        own = (tuple(params.corpora), params.acoustic)
    protocols = table.protocols or (params.protocol,)
    if not tasks:  # other corpora have no official split
        protocols = tuple(name for name in protocols if name != "official")
    if "protocol" in extra:
        protocols = (extra["protocol"],)
    several = len(tasks) > 1 or len(protocols) > 1
    whole = extra.get(MODALITIES, ",".join(params.query_tokens.modalities))
    names = [row.name for row in table.rows]
    if unknown := set(only or ()) - set(names):
        raise UserError(f"--only {', '.join(sorted(unknown))}: no row; rows: {', '.join(names)}")
    rows = [
        row
        for row in table.rows
        if _is_part(row.settings.get(MODALITIES), whole) and (only is None or row.name in only)
    ]
    found = []
    for (visual, acoustic), protocol in itertools.product(tasks or [own], protocols):
        folds = {} if protocol == params.protocol else {"protocol": protocol}
        if folds and table.protocols:
            folds["folds"] = FOLDS[protocol]
        chosen = {"visual": f"[{','.join(visual)}]", "acoustic": acoustic} | folds | extra
        faces = re.findall(r"\w+", chosen["visual"])
        parts = [chosen["acoustic"], *(["faces", *faces] if faces != [chosen["acoustic"]] else [])]
        others = sorted(set(extra) - {"visual", "acoustic", "protocol", "folds"})
        tags = [f"{key}_{extra[key]}" for key in others]
        task = f"acoustic {chosen['acoustic']}, visual {', '.join(faces)}, protocol {protocol}"
        for row in rows:
            name = "-".join(["_".join(parts), protocol, *tags, row.name])
            label = f"{row.label}, {task}" if several else row.label
            name = re.sub(r"[^\w.+-]", "_", name)
            settings = chosen | row.settings | table.settings
            found.append(Experiment(name, label, task, row, settings))
    return found


def _is_part(modality: str | None, whole: str) -> bool:
    """Whether a modality, if a row is of one, is one of several."""
    several = re.findall(r"\w+", whole)
    return modality is None or (modality.strip("[]") in several and len(several) > 1)


def models(name: str) -> dict[str, str]:
    """The MD5 of the model that each stage wrote or read in an experiment, as dvc.lock has it.

    What an experiment has not run it has from the commit before, with the model of that.
    """
    try:
        lock = YAML(typ="safe").load(dvc.api.read("dvc.lock", rev=name))
    except (RevError, DvcException, OSError):
        return {}
    return {
        stage: file["md5"]
        for stage, run in lock["stages"].items()
        for file in [*run.get("deps", []), *run.get("outs", [])]
        if file["path"] == str(MODEL)
    }


def up_to_date(name: str, targets: Sequence[str]) -> bool:
    """Whether an experiment has run all of `targets`, and left what is shown of them."""
    found = models(name)
    same = len({found.get(stage) for stage in ["train", *targets]}) == 1
    return same and all(read_metrics(name, SHOWN[stage]) for stage in targets)


def states() -> dict[str, str]:
    """The experiments of this commit: name -> Queued, Running, Failed or Success."""
    try:
        rows = dvc.api.exp_show()
    except DvcException as error:
        raise UserError(f"dvc exp show: {one_line(error)}; run it to see more") from error
    # One that was run without the queue has no state.
    return {row["Experiment"]: row["State"] or "Success" for row in rows if row["Experiment"]}


def run_dvc(*arguments: str) -> None:
    """Run a dvc command; UserError if it fails, having said why."""
    if subprocess.run([sys.executable, "-m", "dvc", *arguments]).returncode != 0:
        raise UserError(f"dvc {' '.join(arguments)}: failed; see its message above")


def queue(table: Table, extra: Settings, seeds: int, only: Only = None) -> None:
    """Put the experiments of a table that have not run from this commit into DVC's queue."""
    state = states()
    for name, _, _, _, settings in experiments(table, extra, only):
        if state.get(name) == "Running":
            print(f"{name}: is running")
            continue
        if state.get(name) == "Success" and up_to_date(name, table.targets):
            print(f"{name}: has run; to run it anew: dvc exp remove {name}")
            continue
        if name in state:
            run_dvc("exp" if state[name] == "Success" else "queue", "remove", name)
        changes = ({"seeds": str(seeds)} | settings).items()
        options = [word for key, value in changes for word in ("-S", f"{key}={value}")]
        run_dvc(
            "exp", "run", "--queue", "--allow-missing", "--name", name, *options, *table.targets
        )
        print(f"{name}: queued")
    print("to run what is queued: dvc queue start")


def read_metrics(name: str, file: str) -> dict[str, Any] | None:
    """A file in metrics/ of an experiment, None if it has not run or does not have that file."""
    try:
        return json.loads(dvc.api.read(f"{METRICS}/{file}.json", rev=name))
    except (RevError, DvcException, OSError, ValueError):
        return None


def percent(value: float) -> str:
    """A share as the paper prints it."""
    return f"{100 * value:.2f}"


def reported_cells(row: Reported) -> list[str]:
    """A row that the paper prints, in the columns of `show`."""
    values = ["" if value is None else f"{value:.2f}" for value in row[1:4]]
    return [row.system, *values, "", f"reported: {row.source}"]


def measured_cells(item: Experiment) -> list[list[str]]:
    """The row of an experiment, and that of its best test epoch where it was made."""
    metrics = read_metrics(item.name, "details")
    if metrics is None or "encoders" not in metrics:
        earlier = read_metrics(item.name, "test")
        why = "run by an earlier version, to be queued again" if earlier else "not run"
        return [[item.label, "", "", "", "", f"{why} ({item.name})"]]
    cells = [item.label]
    for key, end in (("war", "wilson"), ("uar", "by_utterance"), ("w_f1", "by_utterance")):
        interval = metrics["ci95"][f"{key}_{end}"]
        cells.append(percent(metrics[key]))
        cells[-1] += f" [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
        if spread := metrics.get("sd_over_seeds"):
            cells[-1] += f" ± {100 * spread[key]:.1f}"
    cells.append(f"{metrics['n_correct']:.1f} of {metrics['n_test']}")
    cells.append(
        f"measured here: {item.task}, {classes_in_words(metrics)}{metrics['n_folds']} folds, "
        f"{metrics['n_seeds']} seeds, {encoders_in_words(metrics['encoders'])}"
    )
    best = read_metrics(item.name, "best_test_epoch")
    if not best or not up_to_date(item.name, WITH_BEST_EPOCH):
        return [cells]
    values = [percent(best[key]) for key in ("war", "uar", "w_f1")]
    size = f"{best['n_correct']} of {best['n_test']}"
    return [cells, [f"{item.label}, best test epoch", *values, size, best["label"]]]


def base_of(item: Experiment, found: Sequence[Experiment], base: Row) -> Experiment | None:
    """The row that another is set against on its task, None for itself."""
    same = (other for other in found if other.row is base and other.task == item.task)
    of_task = next(same, item)
    return None if of_task is item else of_task


def paired_rows(found: Sequence[Experiment], base: Row) -> list[list[str]]:
    """Every experiment against `base` on the same task, corrected for how many are compared."""
    compared = {
        item.name: compare(read_predictions(other.name), read_predictions(item.name))
        for item in found
        if (other := base_of(item, found, base))
    }
    p_values = dict(zip(compared, holm([of.measures["uar"].p for of in compared.values()])))
    validated = {
        item.name: (read_metrics(item.name, "train") or {}).get("validation_uar") for item in found
    }
    rows = []
    for item in found:
        cells, uar = paired_cells(item, compared.get(item.name), p_values), validated[item.name]
        rivals = [validated[other.name] or 0 for other in found if other.task == item.task]
        shown = "" if uar is None else percent(uar) + (" (picked)" if uar == max(rivals) else "")
        rows.append([cells[0], shown, *cells[1:]])
    return rows


def paired_cells(
    item: Experiment, compared: Comparison | None, p_values: Mapping[str, float]
) -> list[str]:
    """An experiment against another on the same task, and how much LMMD weighs in its loss."""
    cells = [item.label, "", "", ""]
    if compared:
        uar = compared.measures["uar"]
        low, high = (100 * end for end in uar.interval)
        cells[1] = f"{100 * uar.difference:+.2f} [{low:+.1f}, {high:+.1f}]"
        significant = uar.significant and p_values[item.name] <= 1 - LEVEL
        cells[2] = f"{'yes' if significant else 'no'}, p = {p_values[item.name]:.2g}"
        cells[3] = f"{compared.only_a} : {compared.only_b}"
    trained = read_metrics(item.name, "train") or {}
    lmmd = sum(value for name, value in trained.items() if re.fullmatch(r"lmmd_\d+", name))
    if not lmmd:
        return [*cells, "", ""]
    weighted = trained["lmmd_in_loss"]
    share = weighted / (trained["acoustic_loss"] + trained.get("visual_loss", 0) + weighted)
    return [*cells, f"{lmmd:.2f}", f"{weighted:.2g} ({100 * share:.2g} %)"]


def validation_cells(item: Experiment) -> list[str]:
    """What the validation part says of an experiment."""
    trained = read_metrics(item.name, "train")
    if trained is None:
        return [item.label, f"not run ({item.name})", "", ""]
    loss, epoch = f"{trained['validation_loss']:.3f}", f"{trained['epoch']:.0f}"
    return [item.label, percent(trained["validation_uar"]), loss, epoch]


def markdown(heads: str, rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; `heads` are divided by "; "."""
    return tabulate(rows, heads.split("; "), tablefmt="github", disable_numparse=True)


def show(table: Table, extra: Settings, only: Only = None) -> str:
    """The table as Markdown: reported and measured rows, each saying which it is."""
    found = experiments(table, extra, only)
    if table.targets == ("train",):
        heads = "system; validation UAR %; validation loss; epoch kept"
        return markdown(heads, [validation_cells(item) for item in found])
    rows = [reported_cells(row) for row in table.published]
    rows += [
        [row.system, "", "", "", "", f"cannot be run: {CANNOT_BE_RUN[row.system]}"]
        for row in table.published
        if row.system in CANNOT_BE_RUN
    ]
    rows += itertools.chain.from_iterable(map(measured_cells, found))
    parts = [
        markdown("system; WAR %; UAR %; w-F1 %; correct; source", rows),
        "In brackets 95 % intervals (WAR: Wilson; UAR, w-F1: bootstrap by utterance); ± sd over "
        "seeds. Rows of different corpora, classes or protocols cannot be compared.",
        *(NOTES[row.system] for row in table.published if row.system in NOTES),
    ]
    if table.tasks and not any({"savee", "meld"} & {item.settings["acoustic"]} for item in found):
        parts.append("SAVEE and MELD are not in params.yaml's corpora: measured on others instead.")
    have_run = [item for item in found if read_metrics(item.name, "train")]
    if table.paired and have_run:
        base = table.paired.label
        heads = f"system; validation UAR %; test UAR minus that of {base}; significant; "
        heads += f"right alone ({base} : it)"
        paired = paired_rows(have_run, table.paired)
        if any(lmmd for *_, lmmd, _ in paired):
            heads += "; LMMD; alpha x LMMD (share of the loss)"
        parts.append(markdown(heads, [row[: heads.count(";") + 1] for row in paired]))
        parts.append(
            "Picked: the highest UAR on the validation part. To choose a setting by its test UAR "
            "flatters it. Significant: p of the bootstrap, by Holm's correction for all rows."
        )
    return "\n\n".join(parts)


def main(words: Sequence[str]) -> None:
    """Queue the experiments of a table of the paper, or print what they gave."""
    parser = argparse.ArgumentParser(
        prog="python -m stages tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("queue", "show"))
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5, help="replicas a fold (default 5)")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="ROW,ROW", help="rows (default all)"
    )
    parser.add_argument("-S", dest="extra", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args(words)
    for item in asked.extra:
        if "=" not in item:
            parser.error(f"-S {item}: not KEY=VALUE")
    check_git()
    extra = dict(item.split("=", 1) for item in asked.extra)
    table = TABLES[asked.table]
    if asked.action == "queue":
        queue(table, extra, asked.seeds, asked.only)
    else:
        print(show(table, extra, asked.only))
