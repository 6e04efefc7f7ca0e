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
learning_curve   FDAN and a linear probe on 25, 50, 75 and 100 % of the training speakers
cross_corpus     both trained on each corpus of params.yaml and tested on each other, beside the
                 same utterances tested within their corpus by protocol speaker

Where a corpus of the paper is not in params.yaml's `corpora`, a table runs on the corpora that
params.yaml trains on. An experiment is named after its corpora, protocol and row, so that tables
share what they have in common. -S goes to every row, e.g. -S protocol=speaker -S folds=4. --only
takes some of the rows, each by the end of its experiment's name, e.g. --only gm_tcnet,fdan.
"""

import argparse
import csv
import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dvc.api
from dvc.exceptions import DvcException
from dvc.scm import RevError
from ruamel.yaml import YAML
from tabulate import tabulate

from stages.commands.compare import Comparison, compare, read_predictions
from stages.commands.published import CANNOT_BE_RUN, NOTES, Reported
from stages.commands.revisions import check_git
from stages.commands.rows import (
    FOLDS,
    MODALITIES,
    TABLES,
    WITH_BEST_EPOCH,
    Row,
    Settings,
    Table,
)
from stages.corpora.emotions import CODES, EMOTIONS, task_classes
from stages.runtime.errors import UserError, one_line
from stages.runtime.params import Params, check_params, read_params, read_tree
from stages.runtime.paths import METRICS, MODEL, SPLIT, manifest_path
from stages.scoring.intervals import LEVEL
from stages.scoring.paired import holm
from stages.scoring.summary import classes_in_words, encoders_in_words
from stages.splits.protocols import TRAIN, Rows, assign_roles, recording_id
from stages.splits.samples import read_manifest, shared_classes

Only = Sequence[str] | None  # names of the rows to take of a table, None for all
# The file of a stage that is read here.
SHOWN = {"train": "train", "evaluate": "details", "best_test_epoch": "best_test_epoch"}


class Experiment(NamedTuple):
    """One row of a table on one task; `label` names the task too where the table has several.

    `base` is the name of the experiment that it is set against, "" where there is none.
    """

    name: str
    label: str
    task: str
    row: Row
    settings: Settings
    base: str


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
    if table.protocols and not tasks:  # other corpora have no official split
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
    if table.across:
        return across_corpora(rows, extra)
    found = []
    for (visual, acoustic), protocol in itertools.product(tasks or [own], protocols):
        folds = {} if protocol == params.protocol else {"protocol": protocol}
        if folds and table.protocols:
            folds["folds"] = FOLDS[protocol]
        chosen = {"visual": f"[{','.join(visual)}]", "acoustic": acoustic} | folds | extra
        faces = re.findall(r"\w+", chosen["visual"])
        parts = [chosen["acoustic"], *(["faces", *faces] if faces != [chosen["acoustic"]] else [])]
        task = f"acoustic {chosen['acoustic']}, visual {', '.join(faces)}, protocol {protocol}"
        tested = chosen.get("test", params.test)
        task += f", tested on {tested}" if tested else ""
        name_of = {name: _named("_".join(parts), protocol, extra, name) for name in names}
        for row in unlike(rows, chosen):
            label = f"{row.label}, {task}" if several else row.label
            settings = chosen | row.settings | table.settings
            base = row.base or (table.paired.name if table.paired else row.name)
            against = name_of[base] if base != row.name else ""
            found.append(Experiment(name_of[row.name], label, task, row, settings, against))
    return found


def _named(corpora: str, protocol: str, extra: Settings, row: str) -> str:
    """The name of an experiment, one that git allows."""
    others = sorted(set(extra) - {"visual", "acoustic", "protocol", "folds"})
    tags = [f"{key}_{extra[key]}" for key in others]
    return re.sub(r"[^\w.+-]", "_", "-".join([corpora, protocol, *tags, row]))


def unlike(rows: list[Row], settings: Settings) -> list[Row]:
    """The rows without those whose share of the training speakers is all of a larger share's.

    As the manifest has the speakers; all rows where there is no manifest yet.

    Args:
        settings: of all rows.
    """
    if not any("train_share" in row.settings for row in rows):
        return rows
    params = with_settings(settings)
    heard = list(filter(None, [params.acoustic, params.test]))
    if not all(manifest_path(corpus).exists() for corpus in heard):
        return rows
    voices = [row for corpus in heard for row in voices_of(corpus, params.classes)]
    kept: dict[tuple[str, ...], Row] = {}
    for row in rows:  # the largest share first
        roles = assign_roles(
            [],
            voices,
            params.protocol,
            params.folds,
            params.validation,
            params.seed,
            params.test,
            float(row.settings.get("train_share", "1")),
        )
        columns = (role for of in roles for key, role in of.items() if key.startswith("fold_"))
        kept.setdefault((row.base, *columns), row)
    return list(kept.values())


def across_corpora(rows: Sequence[Row], extra: Settings) -> list[Experiment]:
    """The rows trained on each corpus and tested on each other, and tested within that corpus.

    Within it by protocol speaker, on the emotions that both have, so that the same utterances are
    tested; faces are learned from where both have some of each of these.

    Raises:
        UserError: `extra` has what the table itself sets, or there are no two corpora with voices.
    """
    if given := {"acoustic", "acoustic_only", "folds", "protocol", "test", "visual"} & set(extra):
        raise UserError(f"-S {', '.join(sorted(given))}: the table cross_corpus sets that itself")
    params = with_settings(extra)
    heard = {corpus: voices_of(corpus, params.classes) for corpus in params.corpora}
    heard = {corpus: voices for corpus, voices in heard.items() if voices}
    if len(heard) < 2:
        raise UserError(
            f"params.yaml: corpora: of {', '.join(params.corpora)} fewer than two have voices; "
            "cross_corpus needs two"
        )
    seen = {
        corpus: {row["emotion"] for row in read_manifest(corpus) if row["video"]}
        for corpus in heard
    }
    found: dict[str, Experiment] = {}
    for learned, test in itertools.permutations(heard, 2):
        recordings = {recording_id(row["id"]) for row in heard[test]}
        others = [row for row in heard[learned] if recording_id(row["id"]) not in recordings]
        try:
            classes = shared_classes(others + heard[test], test, task_classes(params.classes))
        except UserError as error:
            print(f"{learned}, tested on {test}, is left out: {error}", file=sys.stderr)
            continue
        see = not params.acoustic_only and seen[learned] & seen[test] >= set(classes)
        speakers = {row["speaker"] for row in heard[test] if row["emotion"] in classes}
        folds = {"folds": str(min(5, len(speakers)))}
        tags = extra | {"classes": "_".join(CODES[EMOTIONS.index(name)] for name in classes)}
        tags |= {} if see else {"acoustic_only": "true"}
        for row in rows:
            base = _named(test, "speaker", tags, row.name)
            for corpora, trained, how, own in (
                (test, test, f"within {test}", {"test": "''"} | folds),
                (
                    f"{learned}_to_{test}",
                    learned,
                    f"trained on {learned}, tested on {test}",
                    {"test": test},
                ),
            ):
                if corpora == test and len(speakers) < 2:
                    continue  # nobody to train on
                faces = f"visual {trained}" if see else "voices alone"
                task = f"{how}, {faces}, protocol speaker"
                settings = {
                    "acoustic": trained,
                    "visual": f"[{trained}]" if see else "[]",
                    "acoustic_only": "false" if see else "true",
                    "protocol": "speaker",
                }
                settings |= own | extra | {"classes": f"[{','.join(classes)}]"} | row.settings
                name = _named(corpora, "speaker", tags, row.name)
                label = f"{row.label}, {how}"
                of = Experiment(name, label, task, row, settings, base if name != base else "")
                found.setdefault(name, of)
    return list(found.values())


def with_settings(settings: Settings) -> Params:
    """params.yaml with some settings, of which those within sections do not matter here.

    Raises:
        UserError: it would be refused.
    """
    values = {key: YAML(typ="safe").load(text) for key, text in settings.items() if "." not in key}
    return check_params(read_tree() | values)


def voices_of(corpus: str, classes: str | Sequence[str]) -> Rows:
    """The rows of the voices of some classes in a corpus' manifest."""
    return [
        {"modality": "acoustic", **row}
        for row in read_manifest(corpus)
        if row["audio"] and row["emotion"] in task_classes(classes)
    ]


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
    for item in experiments(table, extra, only):
        name = item.name
        if state.get(name) == "Running":
            print(f"{name}: is running")
            continue
        if state.get(name) == "Success" and up_to_date(name, table.targets):
            print(f"{name}: has run; to run it anew: dvc exp remove {name}")
            continue
        if name in state:
            run_dvc("exp" if state[name] == "Success" else "queue", "remove", name)
        changes = ({"seeds": str(seeds)} | item.settings).items()
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


def training_size(name: str) -> str:
    """How many speakers and utterances trained in an experiment, to stand behind something else."""
    try:
        text = dvc.api.read(str(SPLIT), rev=name, encoding="utf-8")
    except (RevError, DvcException, OSError):
        return ""
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["modality"] == "acoustic"]
    trained = [
        [row["speaker"] for row in rows if row[column] == TRAIN]
        for column in rows[0]
        if column.startswith("fold_")
    ]
    utterances, speakers = (
        sum(map(len, of)) / len(of) for of in (trained, [set(names) for names in trained])
    )
    return f", trained on {utterances:.1f} utterances of {speakers:.1f} speakers a fold"


def measured_cells(item: Experiment, with_size: bool = False) -> list[list[str]]:
    """The row of an experiment, and that of its best test epoch where it was made.

    Args:
        with_size: say on how much it was trained.
    """
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
        f"{training_size(item.name) if with_size else ''}"
    )
    best = read_metrics(item.name, "best_test_epoch")
    if not best or not up_to_date(item.name, WITH_BEST_EPOCH):
        return [cells]
    values = [percent(best[key]) for key in ("war", "uar", "w_f1")]
    size = f"{best['n_correct']} of {best['n_test']}"
    return [cells, [f"{item.label}, best test epoch", *values, size, best["label"]]]


def paired_rows(found: Sequence[Experiment], picks: bool) -> list[list[str]]:
    """Every experiment against its base, corrected for how many are compared.

    Args:
        picks: say which of a task the validation part picks.
    """
    there = {item.name for item in found}
    compared = {
        item.name: compare(read_predictions(item.base), read_predictions(item.name))
        for item in found
        if item.base in there
    }
    p_values = dict(zip(compared, holm([of.measures["uar"].p for of in compared.values()])))
    validated = {
        item.name: (read_metrics(item.name, "train") or {}).get("validation_uar") for item in found
    }
    rows = []
    for item in found:
        cells, uar = paired_cells(item, compared.get(item.name), p_values), validated[item.name]
        rivals = [validated[other.name] or 0 for other in found if other.task == item.task]
        picked = " (picked)" if picks and uar == max(rivals) else ""
        shown = "" if uar is None else percent(uar) + picked
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
    with_size = bool(table.against)
    rows += itertools.chain.from_iterable(measured_cells(item, with_size) for item in found)
    parts = [
        markdown("system; WAR %; UAR %; w-F1 %; correct; source", rows),
        "In brackets 95 % intervals (WAR: Wilson; UAR, w-F1: bootstrap by utterance); ± sd over "
        "seeds. Rows of different corpora, classes or protocols cannot be compared.",
        *(NOTES[row.system] for row in table.published if row.system in NOTES),
    ]
    if table.tasks and not any({"savee", "meld"} & {item.settings["acoustic"]} for item in found):
        parts.append("SAVEE and MELD are not in params.yaml's corpora: measured on others instead.")
    have_run = [item for item in found if read_metrics(item.name, "train")]
    base = table.paired.label if table.paired else table.against
    if base and have_run:
        heads = f"system; validation UAR %; test UAR minus that of {base}; significant; "
        heads += f"right alone ({base} : it)"
        paired = paired_rows(have_run, picks=not table.against)
        if any(lmmd for *_, lmmd, _ in paired):
            heads += "; LMMD; alpha x LMMD (share of the loss)"
        parts.append(markdown(heads, [row[: heads.count(";") + 1] for row in paired]))
        picked = (
            "Picked: the highest UAR on the validation part. To choose a setting by its test UAR "
            "flatters it. "
        )
        parts.append(
            ("" if table.against else picked)
            + "Significant: p of the bootstrap, by Holm's correction for all rows."
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
