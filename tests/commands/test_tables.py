"""The paper's tables: what is queued, and that every row says whose figure it is."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import dvc.api
import numpy as np
import pytest

from stages.commands import published, tables
from stages.commands.compare import Predictions
from stages.commands.rows import FDAN, TABLES, WITH_BEST_EPOCH, Table
from stages.commands.tables import experiments, show
from stages.corpora.emotions import EMOTIONS
from stages.corpora.listing import COLUMNS
from stages.io.files import write_table
from stages.runtime.errors import UserError
from tests.feature_files import Rows, utterances, write_params
from tests.helpers import user_error

FDAN_NAME = "sample-paper-fdan"
OF_ANY_CORPUS = [name for name, table in TABLES.items() if not table.across]
ONE_ROW = Table([FDAN], published=published.SAVEE, targets=WITH_BEST_EPOCH)
OF_ONE_MODEL = {"train": "a1", "evaluate": "a1", "best_test_epoch": "a1", "tsne": "b2"}
SYSTEMS = {
    "table1": [
        "VGG-16",
        "VGG-19",
        "ResNet-18",
        "ResNet-34",
        "ResNet-50",
        "INCA",
        "GM-TCNet",
        "TF-Mix",
        "FDAN",
    ],
    "table2": [
        "VGG-16",
        "VGG-19",
        "ResNet-18",
        "ResNet-34",
        "ResNet-50",
        "SMIN",
        "TRIN",
        "SDT",
        "CADF",
        "MAP",
        "FDAN",
    ],
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, in which no experiment has run."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    monkeypatch.setattr(tables, "read_metrics", lambda name, file: None)
    monkeypatch.setattr(tables, "models", lambda name: {})
    return tmp_path


def with_savee_and_meld(project: Path) -> None:
    write_params(project, corpora=["savee", "meld"], visual=["savee"], acoustic="savee")


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_table_shows_all_systems_of_the_paper_as_reported(name: str):
    rows = cells(show(TABLES[name], {}))[2:]
    assert [row[0] for row in rows[: len(SYSTEMS[name])]] == SYSTEMS[name]
    for row in rows[: len(SYSTEMS[name])]:
        assert row[-1].startswith("reported: ") and "Li et al." in row[-1]


def test_published_figures_are_percentages_and_the_best_ones_are_those_of_the_abstract():
    for name in ("table1", "table2", "table3", "table4"):
        for row in TABLES[name].published:
            assert all(value is None or 40 < value < 100 for value in row[1:4])
    assert TABLES["table1"].published[-1][1:4] == (86.66, 86.19, 86.96)
    assert TABLES["table2"].published[-1][1:4] == (81.16, 75.91, 80.72)


@pytest.mark.parametrize("name", OF_ANY_CORPUS)
def test_what_has_not_run_says_so(name: str):
    found = experiments(TABLES[name], {})
    text = show(TABLES[name], {})
    assert found and all(f"not run ({item.name})" in text for item in found)


@pytest.mark.parametrize("name", OF_ANY_CORPUS)
def test_names_are_different_and_can_be_names_of_git_references(name: str, project: Path):
    with_savee_and_meld(project)
    other = {"protocol": "speaker", "folds": "4"}
    for extra in ({}, other, {"lmmd.kernels": "3"}):
        names = [item.name for item in experiments(TABLES[name], extra)]
        assert len(set(names)) == len(names)
        for item in names:
            subprocess.run(["git", "check-ref-format", f"refs/exps/{item}"], check=True)
    plain = {item.name for item in experiments(TABLES[name], {})}
    if not TABLES[name].protocols:
        assert plain.isdisjoint(item.name for item in experiments(TABLES[name], other))
    assert plain.isdisjoint(item.name for item in experiments(TABLES[name], {"batch_size": "8"}))


def test_rows_of_the_same_settings_are_one_experiment_in_all_tables(project: Path):
    with_savee_and_meld(project)
    names = {
        name: [item.name for item in experiments(TABLES[name], {}) if item.row is FDAN]
        for name in ("table1", "table4", "findings", "grid")
    }
    assert names["table1"][:1] == names["findings"] == names["grid"] == names["table4"][:1]
    assert names["table1"] == ["savee-paper-fdan", "savee-speaker-fdan"]


@pytest.mark.parametrize("name, folds", [("table1", ["5", "4"]), ("table2", ["5", "4", "1"])])
def test_every_system_of_the_paper_runs_under_every_protocol_or_says_why_it_cannot(
    name: str, folds: list[str], project: Path
):
    with_savee_and_meld(project)
    write_params(project, corpora=["savee", "meld"], visual=["savee"], acoustic="savee", folds=5)
    found = experiments(TABLES[name], {})
    of_row: dict[str, list[str]] = {}
    for item in found:
        of_row.setdefault(item.row.name, []).append(item.settings.get("folds", "5"))
    assert all(values == folds for values in of_row.values())
    run = {item.row.name for item in found}
    for system in SYSTEMS[name]:
        plain = system.replace("VGG-", "vgg").replace("ResNet-", "resnet").lower()
        assert (plain.replace("-", "_") in run) != (system in tables.CANNOT_BE_RUN), system
    assert all(
        f"cannot be run: {why}" in show(TABLES["table2"], {})
        for why in tables.CANNOT_BE_RUN.values()
    )


def test_tables_run_on_savee_and_meld_where_they_are(project: Path):
    with_savee_and_meld(project)
    tasks = [
        (item.settings["visual"], item.settings["acoustic"])
        for item in experiments(TABLES["table3"], {})
    ]
    assert tasks == [("[savee,meld]", "savee"), ("[savee,meld]", "meld")]
    assert {item.settings["acoustic"] for item in experiments(TABLES["table2"], {})} == {"meld"}


def test_tables_run_on_what_params_name_where_savee_and_meld_are_not(project: Path):
    write_params(project, corpora=["sample", "ravdess"], visual=["sample"], acoustic="sample")
    one, *_, other = experiments(TABLES["table1"], {})
    assert other.settings["protocol"] == "speaker"
    assert (one.settings["visual"], one.settings["acoustic"]) == ("[sample]", "sample")
    (several,) = experiments(TABLES["table3"], {})
    assert (several.settings["visual"], several.settings["acoustic"]) == (
        "[sample,ravdess]",
        "sample",
    )
    assert "measured on others instead" in show(TABLES["table1"], {})


def test_the_ablation_changes_what_the_paper_removes():
    settings = {item.row.name: item.settings for item in experiments(TABLES["table4"], {})}
    assert settings["fdan_1"]["cross_attention"] == "false"
    assert settings["fdan_2"]["alpha"] == "0"
    assert settings["acoustic_only"]["acoustic_only"] == "true"
    assert not {"alpha", "cross_attention", "acoustic_only"} & set(settings["fdan"])


def test_the_grid_is_that_of_the_paper():
    found = {
        (item.settings.get("alpha"), item.settings.get("weight_decay"))
        for item in experiments(TABLES["grid"], {})
        if item.row is not FDAN
    }
    assert found == {(a, d) for a in ("1e-3", "1e-4", "1e-5") for d in ("1e-3", "1e-4")}


def test_the_ablation_of_query_tokens_changes_one_thing_a_row():
    (whole, *others) = experiments(
        TABLES["query_tokens"], {"query_tokens.modalities": "[acoustic,linguistic]"}
    )
    assert whole.name.endswith("-tokens")
    assert {
        item.row.name: dict(item.settings.items() - whole.settings.items()) for item in others
    } == {
        "tokens-no_masking": {"query_tokens.masking": "0"},
        "tokens-no_queries": {"query_tokens.queries": "0"},
        "tokens-acoustic": {"query_tokens.modalities": "[acoustic]"},
        "tokens-linguistic": {"query_tokens.modalities": "[linguistic]"},
    }


@pytest.mark.parametrize(
    "of, rows", [(["acoustic"], []), (["visual", "acoustic"], ["acoustic", "visual"])]
)
def test_each_modality_alone_is_a_row_where_there_are_several(
    project: Path, of: list[str], rows: list[str]
):
    write_params(project, query_tokens={"modalities": of})
    names = [item.row.name for item in experiments(TABLES["query_tokens"], {})]
    plain = ["tokens", "tokens-no_masking", "tokens-no_queries"]
    assert names == plain + [f"tokens-{name}" for name in rows]


def test_of_a_table_some_rows_can_be_asked_for_and_no_others():
    whole = experiments(TABLES["table1"], {})
    some = experiments(TABLES["table1"], {}, ["tim_net", "fdan"])
    assert some == [item for item in whole if item.row.name in ("tim_net", "fdan")] and some
    assert "VGG-16, acoustic" not in show(TABLES["table1"], {}, ["tim_net"])
    with pytest.raises(UserError, match="--only fdam: no row; rows: vgg16, .*, fdan"):
        experiments(TABLES["table1"], {}, ["fdan", "fdam"])


def test_the_learning_rate_is_chosen_without_the_test_part():
    assert TABLES["learning_rate"].targets == ("train",)
    assert "validation" in show(TABLES["learning_rate"], {})


@pytest.fixture
def dvc_asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What dvc is asked, by its command line; it knows no experiment."""
    asked: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess:
        asked.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(dvc.api, "exp_show", lambda: [{"Experiment": None, "State": None}])
    return asked


def knows(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """Lets dvc know the one experiment of table 1; `state` as dvc.api.exp_show gives it."""
    rows = [{"Experiment": None, "State": None}, {"Experiment": FDAN_NAME, "State": state}]
    monkeypatch.setattr(dvc.api, "exp_show", lambda: rows)


def test_queueing_gives_dvc_the_name_the_seeds_the_settings_and_the_stages(dvc_asked):
    tables.queue(ONE_ROW, {"folds": "3"}, seeds=4)
    (command,) = dvc_asked
    given = [command[i + 1] for i, word in enumerate(command) if word == "-S"]
    assert {
        "seeds=4", "folds=3", "acoustic=sample", "visual=[sample]", "best_test_epoch=true"
    } == set(given)  # fmt: skip
    assert command[command.index("--name") + 1] == FDAN_NAME
    assert command[:3] == ["exp", "run", "--queue"]
    assert command[-2:] == ["evaluate", "best_test_epoch"]
    assert "--force" not in command  # it would extract everything anew


@pytest.mark.parametrize(
    "state, said", [(None, "has run"), ("Success", "has run"), ("Running", "is running")]
)
def test_what_has_run_or_runs_is_not_queued_again(
    state: str | None,
    said: str,
    dvc_asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    knows(monkeypatch, state)
    monkeypatch.setattr(tables, "read_metrics", lambda name, file: {"war": 0.5})
    monkeypatch.setattr(tables, "models", lambda name: OF_ONE_MODEL)
    tables.queue(ONE_ROW, {}, seeds=1)
    assert dvc_asked == [] and f"{FDAN_NAME}: {said}" in capsys.readouterr().out


@pytest.mark.parametrize("state", [None, "Success"])
@pytest.mark.parametrize(
    "best, of",
    [
        (None, OF_ONE_MODEL),
        ({}, OF_ONE_MODEL),  # it was not asked for
        ({"war": 0.5}, OF_ONE_MODEL | {"best_test_epoch": "of the commit before"}),
        ({"war": 0.5}, {"train": "a1", "evaluate": "a1"}),
    ],
)
def test_what_has_run_without_all_that_a_table_needs_is_run_again(
    best: dict[str, float] | None,
    of: dict[str, str],
    state: str | None,
    dvc_asked,
    monkeypatch: pytest.MonkeyPatch,
):
    knows(monkeypatch, state)
    without_best = {"details": {"n_folds": 5}, "best_test_epoch": best}
    monkeypatch.setattr(tables, "read_metrics", lambda name, file: without_best[file])
    monkeypatch.setattr(tables, "models", lambda name: of)
    tables.queue(ONE_ROW, {}, seeds=1)
    assert [command[:2] for command in dvc_asked] == [["exp", "remove"], ["exp", "run"]]


@pytest.mark.parametrize("state", ["Queued", "Failed"])
def test_what_waits_or_failed_is_not_queued_twice(
    state: str, dvc_asked, monkeypatch: pytest.MonkeyPatch
):
    knows(monkeypatch, state)
    tables.queue(ONE_ROW, {}, seeds=1)
    assert dvc_asked[0] == ["queue", "remove", FDAN_NAME] and len(dvc_asked) == 2


def test_a_refusal_of_dvc_stops_the_queueing(dvc_asked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", lambda command: SimpleNamespace(returncode=255))
    with pytest.raises(UserError, match="dvc exp run --queue .*: failed; see its message above"):
        tables.queue(ONE_ROW, {}, seeds=1)


def test_a_folder_that_is_no_repository_of_dvc_is_one_line():
    with pytest.raises(UserError, match="^dvc exp show: SCM error; run it to see more"):
        tables.queue(ONE_ROW, {}, seeds=1)


def fake_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of every experiment, in which FDAN_1 is much worse than the others."""
    interval = {"low": 0.5, "high": 0.75}
    details = {
        "war": 0.625,
        "uar": 0.6,
        "w_f1": 0.61,
        "n_test": 140,
        "n_correct": 87.5,
        "n_seeds": 2,
        "n_folds": 5,
        "protocol": "paper",
        "classes": dict.fromkeys(EMOTIONS, {}),
        "encoders": {"acoustic": {"name": "resnet34", "weights": "imagenet"}},
        "ci95": {
            "war_wilson": interval,
            "uar_by_utterance": interval,
            "w_f1_by_utterance": interval,
        },
        "sd_over_seeds": {"war": 0.012, "uar": 0.013, "w_f1": 0.014},
    }
    train = {
        "acoustic_loss": 0.5,
        "visual_loss": 0.4,
        "lmmd_1": 2.0,
        "lmmd_2": 1.0,
        "lmmd_in_loss": 0.1,
        "validation_uar": 0.7,
        "validation_loss": 0.8,
        "epoch": 12.0,
    }
    best = {
        "war": 0.7,
        "uar": 0.69,
        "w_f1": 0.68,
        "n_correct": 98,
        "n_test": 140,
        "label": "optimistic: not a result",
    }
    files = {"test": {"war": 0.625}, "details": details, "train": train, "best_test_epoch": best}
    monkeypatch.setattr(tables, "read_metrics", lambda name, file: files[file])
    monkeypatch.setattr(tables, "models", lambda name: OF_ONE_MODEL)

    def predictions(name: str) -> Predictions:
        rng = np.random.default_rng(1)
        true = np.arange(140) % 7
        wrong = rng.random((140, 2)) < (0.9 if name.endswith("fdan_1") else 0.3)
        predicted = (true[:, None] + wrong) % 7
        return Predictions(name, [f"s/{i:03}" for i in range(140)], ["s"] * 140, true, predicted)

    monkeypatch.setattr(tables, "read_predictions", predictions)


def test_a_measured_row_has_its_interval_its_spread_and_its_protocol(
    monkeypatch: pytest.MonkeyPatch,
):
    fake_results(monkeypatch)
    rows = {
        row[0]: row
        for row in cells(show(ONE_ROW, {}))
        if row[0:1] != ["FDAN"] or "reported" not in row[-1]
    }
    measured = rows["FDAN"]
    assert measured[1] == "62.50 [50.0, 75.0] ± 1.2" and measured[4] == "87.5 of 140"
    assert measured[5] == (
        "measured here: acoustic sample, visual sample, protocol paper, 5 folds, "
        "2 seeds, resnet34 with imagenet weights"
    )
    best = rows["FDAN, best test epoch"]
    assert best[1] == "70.00" and best[5] == "optimistic: not a result"


def test_a_best_test_epoch_of_another_model_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    fake_results(monkeypatch)
    other = OF_ONE_MODEL | {"best_test_epoch": "b2"}
    monkeypatch.setattr(tables, "models", lambda name: other)
    assert "best test epoch" not in show(ONE_ROW, {})


def test_the_models_of_an_experiment_are_those_of_its_dvc_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    lock = """
    stages:
      sample: {cmd: a}
      train:
        outs: [{path: models/replicas.json, md5: c3}, {path: models/replicas.safetensors, md5: a1}]
      evaluate: {deps: [{path: models/replicas.safetensors, md5: a1}], outs: [{path: b, md5: d4}]}
    """
    monkeypatch.setattr(dvc.api, "read", lambda path, rev: lock if path == "dvc.lock" else "")
    assert tables.models("any") == {"train": "a1", "evaluate": "a1"}


def test_a_result_of_the_old_layout_says_so_in_its_row(monkeypatch: pytest.MonkeyPatch):
    fake_results(monkeypatch)
    of_this = tables.read_metrics
    monkeypatch.setattr(
        tables,
        "read_metrics",
        lambda name, file: None if file == "details" else of_this(name, file),
    )
    assert f"run by an earlier version, to be queued again ({FDAN_NAME})" in show(ONE_ROW, {})


def test_an_ablation_is_set_against_fdan_with_its_interval_and_the_weight_of_lmmd(
    monkeypatch: pytest.MonkeyPatch,
):
    fake_results(monkeypatch)
    text = show(TABLES["table4"], {})
    (worse,) = [row for row in cells(text) if row[0].startswith("FDAN_1 (no") and len(row) == 7]
    assert float(worse[2].split()[0]) < -40 and worse[3].startswith("yes, p = 0.0")
    assert re.fullmatch(r"\d+ : \d+", worse[4])
    assert worse[5] == "3.00" and worse[6] == "0.1 (10 %)"
    (same,) = [row for row in cells(text) if row[0].startswith("FDAN_2") and len(row) == 7]
    assert same[2].startswith("+0.00 [+0.0, +0.0]") and same[3:5] == ["no, p = 1", "0 : 0"]


def test_an_ablation_of_query_tokens_is_set_against_them_all(monkeypatch: pytest.MonkeyPatch):
    fake_results(monkeypatch)
    of_all = tables.read_metrics
    monkeypatch.setattr(
        tables,
        "read_metrics",
        lambda name, file: {k: v for k, v in of_all(name, file).items() if "lmmd" not in k},
    )
    asked: list[tuple[str, str]] = []
    of_two = tables.compare
    monkeypatch.setattr(
        tables,
        "compare",
        lambda a, b: (asked.append((a.revision, b.revision)), of_two(a, b))[1],
    )
    text = show(TABLES["query_tokens"], {})
    assert asked == [
        ("sample-paper-tokens", f"sample-paper-tokens-no_{part}") for part in ("masking", "queries")
    ]
    (heads, _, whole, *others) = [row for row in cells(text) if len(row) == 5]
    assert heads[2] == "test UAR minus that of query tokens" and "LMMD" not in text
    assert whole[2:] == ["", "", ""] and all(row[2].startswith("+0.00") for row in others)


def test_the_grid_shows_what_validation_picks_and_corrects_for_the_number_of_rows(
    monkeypatch: pytest.MonkeyPatch,
):
    fake_results(monkeypatch)
    of_all = tables.read_metrics

    def read_metrics(name: str, file: str) -> dict:
        best = {"validation_uar": 0.75} if name.endswith("alpha_1e-4-decay_1e-3") else {}
        return of_all(name, file) | (best if file == "train" else {})

    def compare(a: Predictions, b: Predictions) -> SimpleNamespace:
        lucky = b.revision.endswith("alpha_1e-5-decay_1e-4")
        p = 0.01 if lucky else 0.5  # 0.06 for six rows
        uar = SimpleNamespace(difference=0.02, interval=(0.01, 0.03), significant=lucky, p=p)
        return SimpleNamespace(measures={"uar": uar}, only_a=1, only_b=2)

    monkeypatch.setattr(tables, "read_metrics", read_metrics)
    monkeypatch.setattr(tables, "compare", compare)
    rows = [row for row in cells(show(TABLES["grid"], {})) if len(row) == 7][2:]
    assert len(rows) == 7
    assert [row[0] for row in rows if "(picked)" in row[1]] == ["FDAN, alpha 1e-4, decay 1e-3"]
    assert {row[1] for row in rows} == {"70.00", "75.00 (picked)"}
    assert [row[3] for row in rows] == ["", *["no, p = 1"] * 5, "no, p = 0.06"]


def write_manifest(corpus: str, rows: Rows, video: str = "v") -> None:
    found = [row | {"audio": "a", "video": video} for row in rows]
    write_table(Path(f"data/manifest/{corpus}.csv"), COLUMNS, found)


def test_a_learning_curve_has_the_shares_that_differ_each_set_against_the_whole(project: Path):
    write_params(project, protocol="speaker", folds=2, validation=0, selection="last")
    shares = {"0.75", "0.5", "0.25"}
    for speakers, apart in ((16, shares), (4, {"0.5"}), (2, set())):
        write_manifest("sample", utterances("sample", speakers))
        found = experiments(TABLES["learning_curve"], {})
        of = {item.row.name: item for item in found}
        assert {item.settings["train_share"] for item in found} == {"1.0", *apart}
        for system in ("fdan", "linear_probe"):
            whole = of.pop(f"{system}-share_1.0")
            assert whole.base == "" and whole.settings.get("system", "fdan") == system
            for share in apart:
                item = of.pop(f"{system}-share_{share}")
                assert item.base == whole.name == f"sample-speaker-{system}-share_1.0"
                changed = dict(item.settings.items() - whole.settings.items())
                assert changed == {"train_share": share}
        assert not of


def test_without_a_manifest_all_shares_are_queued_and_what_cannot_be_split_is_told(project: Path):
    assert len(experiments(TABLES["learning_curve"], {})) == 8
    some = experiments(TABLES["learning_curve"], {}, ["fdan-share_1.0", "fdan-share_0.25"])
    assert len(some) == 2 and some[1].base == some[0].name
    write_manifest("sample", utterances("sample"))
    said = user_error(experiments, TABLES["learning_curve"], {"protocol": "speaker", "folds": "9"})
    assert said.startswith("params.yaml: folds: 9 is more than the 4 speakers of the voices")
    said = user_error(experiments, TABLES["learning_curve"], {"alpha": "-1"})
    assert said == "params.yaml: alpha: -1 is not a number >= 0"


def three_corpora(project: Path) -> None:
    """Two with faces, of which one has no surprise; and voices of one person."""
    write_params(project, corpora=["sample", "savee", "emodb"])
    write_manifest("sample", utterances("sample", 7))
    write_manifest("savee", utterances("savee", 4, emotions=EMOTIONS[:6]))
    write_manifest("emodb", utterances("emodb", 1, emotions=["anger", "fear"]), video="")


def test_every_corpus_is_tested_after_training_on_every_other_and_on_itself(project: Path):
    three_corpora(project)
    found = {item.name: item for item in experiments(TABLES["cross_corpus"], {}, ["fdan"])}
    six, two = "classes_AN_DI_FE_HA_NE_SA", "acoustic_only_true-classes_AN_FE"
    assert {name: item.base for name, item in found.items()} == {
        f"savee-speaker-{six}-fdan": "",
        f"sample_to_savee-speaker-{six}-fdan": f"savee-speaker-{six}-fdan",
        f"sample_to_emodb-speaker-{two}-fdan": f"emodb-speaker-{two}-fdan",  # which cannot be
        f"sample-speaker-{six}-fdan": "",
        f"savee_to_sample-speaker-{six}-fdan": f"sample-speaker-{six}-fdan",
        f"savee_to_emodb-speaker-{two}-fdan": f"emodb-speaker-{two}-fdan",
        f"sample-speaker-{two}-fdan": "",
        f"emodb_to_sample-speaker-{two}-fdan": f"sample-speaker-{two}-fdan",
        f"savee-speaker-{two}-fdan": "",
        f"emodb_to_savee-speaker-{two}-fdan": f"savee-speaker-{two}-fdan",
    }
    across = found[f"sample_to_savee-speaker-{six}-fdan"]
    assert across.settings == {
        "acoustic": "sample",
        "visual": "[sample]",
        "acoustic_only": "false",
        "protocol": "speaker",
        "test": "savee",
        "classes": "[anger,disgust,fear,happiness,neutral,sadness]",
    }
    within = found[across.base].settings
    assert (within["acoustic"], within["visual"]) == ("savee", "[savee]")
    assert (within["test"], within["folds"]) == ("''", "4")
    assert within["classes"] == across.settings["classes"]
    alone = found[f"savee_to_emodb-speaker-{two}-fdan"].settings
    assert (alone["visual"], alone["acoustic_only"]) == ("[]", "true")
    systems = {item.row.name for item in experiments(TABLES["cross_corpus"], {})}
    assert systems == {"fdan", "linear_probe"}
    for name in found:
        subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)


def test_what_cannot_be_tested_across_corpora_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    three_corpora(project)
    found = experiments(TABLES["cross_corpus"], {"classes": "[anger,surprise]"})
    assert found == []  # of these two no pair has both
    said = capsys.readouterr().err
    assert said.count("is left out: params.yaml: test: of the classes anger, surprise") == 6
    assert "savee, tested on emodb, is left out" in said
    said = user_error(experiments, TABLES["cross_corpus"], {"protocol": "paper", "test": "x"})
    assert said == "-S protocol, test: the table cross_corpus sets that itself"
    write_params(project, corpora=["sample"])
    said = user_error(experiments, TABLES["cross_corpus"], {})
    assert said.startswith("params.yaml: corpora: of sample fewer than two have voices")
    Path("data/manifest/sample.csv").unlink()
    said = user_error(experiments, TABLES["cross_corpus"], {})
    assert said.startswith("data/manifest/sample.csv: cannot be read")


def test_a_curve_and_a_drop_are_shown_with_what_was_trained_on_and_the_paired_difference(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    three_corpora(project)
    fake_results(monkeypatch)
    split = "modality,speaker,fold_0,fold_1\nvisual,v,train,train\nacoustic,a,train,test\n"
    split += "acoustic,a,train,train\nacoustic,b,out,train\n"
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, encoding: split)
    curve = show(TABLES["learning_curve"], {}, ["fdan-share_1.0", "fdan-share_0.25"])
    assert curve.count(", trained on 2.0 utterances of 1.5 speakers a fold") == 2
    assert "test UAR minus that of all training speakers" in curve and "icked" not in curve
    [part] = [row for row in cells(curve) if row[0].startswith("FDAN, 25 %") and len(row) == 7]
    assert part[2] == "+0.00 [+0.0, +0.0]" and part[3] == "no, p = 1"
    drop = show(TABLES["cross_corpus"], {}, ["fdan"])
    assert "test UAR minus that of the one within the corpus" in drop
    assert "measured here: trained on sample, tested on savee, visual sample, protocol s" in drop
    rows = {row[0]: row for row in cells(drop) if len(row) == 7}
    assert (
        rows["FDAN, trained on sample, tested on savee"][2].startswith("+0.00 [")
        and rows["FDAN, within savee"][2] == ""
    )


def test_a_table_runs_under_the_official_split_of_params(project: Path):
    write_params(project, protocol="official", folds=1)
    assert [
        item.settings.get("protocol", "official") for item in experiments(TABLES["floor"], {})
    ] == ["official"] * 4
