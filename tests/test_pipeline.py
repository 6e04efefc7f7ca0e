"""The pipeline as its users run it: real `dvc` commands in a temporary clone."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.corpora.emotions import CODES, EMOTIONS
from stages.distortion.distortions import SOUNDS
from stages.io.arrays import open_arrays
from stages.io.files import read_table
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import Piece, Recogniser
from stages.runtime.paths import BUNDLE, CONTENTS, PREDICTIONS, RAW, manifest_path
from stages.sample import make_corpus
from tests.clone import Clone
from tests.helpers import ROOT, both, wait_for

SMALL = {
    "sample": {"speakers": 3, "sentences": 2},
    "folds": 2,
    "seeds": 2,
    "epochs": 3,
    "encoders": both(name="squeezenet1_1"),
}


LARGE_ALPHA = 10  # at which LMMD changes what is predicted
SCREEN = 100  # columns

# The titles of dvc.yaml's plots.
PLOTS = [
    title
    for plot in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    for title in plot
]


def stages_run(output: str) -> list[str]:
    """The stages that a DVC command ran, or restored from a run of another clone, in order."""
    return re.findall(r"^\s*(?:Running stage|Stage) '(.+?)'(?::$| is cached)", output, re.MULTILINE)


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, shared_folder: Path
) -> Iterator[tuple[Clone, str]]:
    """A clone with a small sample on which `dvc repro` has run and been committed."""
    clone = Clone(tmp_path_factory.mktemp("small"), SMALL, shared_folder)
    output = clone.dvc("repro")
    clone.commit("reproduced")
    yield clone, output


def test_repro_runs_every_stage_and_leaves_a_clean_tree(small: tuple[Clone, str]) -> None:
    clone, output = small
    assert set(stages_run(output)) == {
        "settings",
        "sample",
        "manifest@sample",
        "plan",
        "frames@sample",
        "mels@sample",
        "contact_sheet@sample",
        "visual_features@sample",
        "acoustic_features@sample",
        "transcripts@sample",
        "linguistic_features@sample",
        "split",
        "train",
        "evaluate",
        "model",
        "card",
        "best_test_epoch",
        "tsne",
        "report",
    }
    assert clone.run("git", "status", "--porcelain") == ""
    committed = clone.run("git", "ls-files", "data", "models", "metrics", "dvc.lock").split()
    readmes = {f"{name}/README.md" for name in ("data", "models", "metrics", "metrics/live")}
    assert set(committed) - readmes == {"dvc.lock", "metrics/test.json"}


def test_repro_ends_with_the_result_where_to_look_and_what_to_type(
    small: tuple[Clone, str],
) -> None:
    clone, output = small
    assert stages_run(output)[-1] == "report"
    lines = output.split("> python -m stages.report\n")[1].splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("Next: dvc exp run "))
    uar = clone.metrics()["uar"]
    assert lines[0].startswith(f"UAR {uar:.3f} [")
    assert lines[1].startswith("fdan on sample, protocol paper")
    assert lines[end - 1] == "Look at metrics/report.html."
    assert lines[end + 1] == "Updating lock file 'dvc.lock'"  # then DVC's own hints
    page = (clone.folder / "metrics/report.html").read_bytes()
    assert len(page) < 2_000_000 and b"data:image/jpeg" in page and b"data:audio/flac" in page


def test_metrics_and_predictions_agree(small: tuple[Clone, str]) -> None:
    clone, _ = small
    metrics = clone.metrics()
    with open(clone.folder / "metrics/predictions.csv", newline="") as file:
        predictions = list(csv.DictReader(file))
    right = sum(row["actual"] == row["predicted"] for row in predictions)
    assert len(predictions) == 2 * metrics["n_test"] == 2 * (3 * 7 * 2)
    assert metrics["n_correct"] == right / 2  # the mean over two seeds
    assert metrics["war"] == pytest.approx(right / len(predictions), abs=1e-6)
    assert metrics["n_skipped"] == 0 and metrics["n_classes_present"] == 7
    encoders = metrics["encoders"].values()
    assert [(of["name"], of["weights"]) for of in encoders] == [("squeezenet1_1", "random")] * 2


def test_a_new_clip_gets_what_the_pipeline_would_have_computed(
    small: tuple[Clone, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its test clips, as if they were new: the folds' replicas say what they said of them."""
    clone, _ = small
    monkeypatch.chdir(clone.folder)
    recogniser = Recogniser(read_bundle(BUNDLE))
    clips = {
        row["id"]: RAW / "sample" / row["audio"] for row in read_table(manifest_path("sample"))
    }
    answers = dict(zip(clips, recogniser.recognise([Piece(path) for path in clips.values()])))
    predictions = read_table(PREDICTIONS)
    seeds = recogniser.contents["seeds"]
    for row in predictions:
        replica = int(row["fold"]) * len(seeds) + seeds.index(int(row["seed"]))
        shares = [float(row[code]) for code in CODES]
        assert answers[row["id"]].folds[replica] == pytest.approx(shares, abs=1e-6)
    assert all(answer.trained_on for answer in answers.values())


@pytest.mark.long
def test_a_result_is_tested_under_noise_and_by_speaker(small: tuple[Clone, str]) -> None:
    clone, _ = small
    said = clone.run(sys.executable, "-m", "stages", "robustness")
    table = [line.split("|") for line in said.splitlines() if line.startswith("|")][2:]
    assert [row[1].strip() for row in table] == ["clean", *SOUNDS]  # told by voices alone
    assert float(table[0][2]) == pytest.approx(clone.metrics()["war"], abs=5e-4)
    fairness = (sys.executable, "-m", "stages", "fairness")
    of_head, here = (json.loads(clone.run(*fairness, *of, "--json")) for of in (("HEAD",), ()))
    assert of_head == here | {"revision": "HEAD"}
    assert {group["name"]: group["n_speakers"] for group in here["sexes"]} == {
        "female": 2,
        "male": 1,
    }
    assert clone.run("git", "status", "--porcelain") == ""


def test_clips_are_told_by_the_model_of_any_revision(small: tuple[Clone, str]) -> None:
    clone, _ = small
    predict = (sys.executable, "-m", "stages", "predict", "data/raw/sample/F1", "--json")
    here = told(clone.run(*predict))
    shutil.move(clone.folder / "models/bundle", clone.folder / "elsewhere")
    assert "models/bundle/model.json: cannot be read" in clone.run(*predict, code=2)
    there = told(clone.run(*predict, "--rev", "HEAD"))
    assert here == there and len(here) == 14
    assert "'x': is neither a git revision nor" in clone.run(*predict, "--rev", "x", code=2)
    shutil.move(clone.folder / "elsewhere", clone.folder / "models/bundle")
    clone.run("git", "tag", "-a", "speech-emotion@v1.0.0", "-m", "first")
    clone.dvc("artifacts", "get", ".", "speech-emotion", "-o", "fetched")
    fetched, own = (clone.folder / name / CONTENTS for name in ("fetched", "models/bundle"))
    assert fetched.read_bytes() == own.read_bytes()
    shutil.rmtree(clone.folder / "fetched")


def told(output: str) -> list[dict[str, Any]]:
    """The JSON at the end of what a command printed."""
    return json.loads(output[output.index("[\n") :])


def test_a_second_repro_runs_nothing(small: tuple[Clone, str]) -> None:
    clone, _ = small
    output = clone.dvc("repro")
    assert stages_run(output) == []
    assert "up to date" in output
    assert "up to date" in clone.dvc("status")


def test_another_alpha_runs_training_and_what_follows_alone(small: tuple[Clone, str]) -> None:
    clone, _ = small
    output = clone.dvc("exp", "run", "-S", f"alpha={LARGE_ALPHA}", "--name", "small-alpha")
    ran = stages_run(output)
    assert (ran[:2], ran[-1]) == (["settings", "train"], "report")
    assert sorted(ran[2:-1]) == ["best_test_epoch", "card", "evaluate", "model", "tsne"]
    assert "Next: python -m stages compare HEAD" in output
    params = json.loads(clone.dvc("params", "diff", "HEAD", "small-alpha", "--json"))
    alpha = params["params.yaml"]["alpha"]
    assert (alpha["old"], alpha["new"]) == (0.001, LARGE_ALPHA)
    changed = json.loads(clone.dvc("metrics", "diff", "HEAD", "small-alpha", "--json"))
    assert {"war", "uar"} <= changed["metrics/test.json"].keys()
    clone.dvc("plots", "diff", "HEAD", "small-alpha")
    page = (clone.folder / "dvc_plots/index.html").read_text()
    assert "sample.png" in page
    for title in PLOTS:
        assert f"{title}, sample, protocol paper" in page, title
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout")


@pytest.mark.long
def test_augmented_copies_are_made_and_trained_on_and_nothing_else_changes(
    small: tuple[Clone, str],
) -> None:
    clone, _ = small
    kept = ("data/split.csv", "data/manifest/sample.csv", "data/frames/sample.h5")
    before = {name: (clone.folder / name).read_bytes() for name in kept}
    arrays = {modality: features_of(clone, modality) for modality in ("acoustic", "visual")}
    model = (clone.folder / "models/replicas.safetensors").read_bytes()
    changes = ("augmentation.noise_db=[10,20]", "augmentation.pitch=1", "augmentation.flip=true")
    settings = [word for change in changes for word in ("-S", change)]
    output = clone.dvc("exp", "run", *settings, "--name", "small-noise", "evaluate")
    ran = stages_run(output)
    assert ran[0] == "settings" and ran[-3:] == ["split", "train", "evaluate"]
    made = {"mels@sample", "acoustic_features@sample", "visual_features@sample"}
    assert made <= set(ran) and "frames@sample" not in ran
    assert {name: (clone.folder / name).read_bytes() for name in kept} == before
    for modality, plain in arrays.items():
        found = features_of(clone, modality)
        assert len(found) == 2 * len(plain) and np.array_equal(found[: len(plain)], plain)
    assert (clone.folder / "models/replicas.safetensors").read_bytes() != model
    assert clone.metrics()["n_test"] == 42
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout")
    output = clone.dvc("exp", "run", *settings, "-S", "class_balance=sampler", "evaluate")
    assert stages_run(output)[-2:] == ["train", "evaluate"]
    clone.dvc("exp", "remove", "--all-commits")
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout")


def features_of(clone: Clone, modality: str) -> np.ndarray:
    path = clone.folder / f"data/features/{modality}/sample.h5"
    with open_arrays(path, f"{modality} features") as file:
        return file["pooled"][...]


def test_another_encoder_of_voices_makes_their_features_alone_anew(
    small: tuple[Clone, str],
) -> None:
    clone, _ = small
    change = "encoders.acoustic.seed=1"
    output = clone.dvc("exp", "run", "-S", change, "--name", "small-encoder", "split")
    assert stages_run(output) == ["settings", "acoustic_features@sample", "split"]
    clone.dvc("exp", "remove", "small-encoder")
    clone.run("git", "checkout", "-q", ".")
    clone.dvc("checkout")


def test_the_tables_of_dvc_fit_a_screen(small: tuple[Clone, str]) -> None:
    """After the experiment of another alpha, which the test before has run."""
    clone, _ = small
    measures = {"uar", "uar_low", "uar_high", "w_f1", "war"}
    show = ("exp", "show", "--only-changed")
    clone.environment["COLUMNS"] = str(SCREEN)
    for command in (
        ("metrics", "show"),
        (*show, "--drop", ".*/"),  # without the hashes of what a stage reads
        (*show, "--no-pager"),  # which leaves them out where they do not fit
    ):
        lines = clone.dvc(*command).splitlines()
        words = " ".join(lines).split()
        assert max(map(len, lines)) <= SCREEN, command
        assert measures <= set(words), command
    # With a pager, which shows them to the right of all else.
    (header,) = [line for line in clone.dvc(*show).splitlines() if "Experiment" in line]
    assert measures | {"alpha"} <= set(header[:SCREEN].split())
    del clone.environment["COLUMNS"]


def test_a_queued_sweep_succeeds_and_repeats_nothing_slow(small: tuple[Clone, str]) -> None:
    clone, _ = small
    clone.dvc("exp", "run", "--queue", "-S", "alpha=1e-4,5e-6", "evaluate")
    clone.dvc("queue", "start")
    wait_for_queue(clone)
    assert [row["status"] for row in queue(clone)] == ["Success"] * 2
    for row in queue(clone):
        assert stages_run(clone.dvc("queue", "logs", row["task"])) == [
            "settings",
            "train",
            "evaluate",
        ]
    (baseline,) = json.loads(clone.dvc("exp", "show", "--json"))[1:]
    alphas = set()
    for experiment in baseline["experiments"]:
        values = experiment["revs"][0]["data"]
        alphas.add(values["params"]["params.yaml"]["data"]["alpha"])
        assert 0 <= values["metrics"]["metrics/test.json"]["data"]["uar"] <= 1
    assert alphas >= {1e-4, 5e-6}


def test_a_queued_experiment_is_refused_before_anything_runs(small: tuple[Clone, str]) -> None:
    """In the copy in which it runs there is nothing but what DVC tracks."""
    clone, _ = small
    clone.dvc("exp", "run", "--queue", "-S", "protocol=speaker", "-S", "folds=9", "evaluate")
    clone.dvc("queue", "start")
    wait_for_queue(clone)
    [task] = [row["task"] for row in queue(clone) if row["status"] == "Failed"]
    log = clone.dvc("queue", "logs", task)
    assert stages_run(log) == ["settings"]
    assert "error: params.yaml: folds: 9 is more than the 3 speakers of the voices" in log
    clone.dvc("queue", "remove", "--failed")


def test_a_table_is_queued_run_shown_and_compared(small: tuple[Clone, str]) -> None:
    clone, _ = small
    tables = (sys.executable, "-m", "stages", "tables")
    one_row = ("table1", "--only", "fdan", "-S", "protocol=paper")
    queued = clone.run(*tables, "queue", *one_row, "--seeds", "1")
    assert [line for line in queued.splitlines() if ": queued" in line] == [
        "sample-paper-fdan: queued"
    ]
    clone.dvc("queue", "start")
    wait_for_queue(clone)
    shown = clone.run(*tables, "show", *one_row)
    (row,) = [line for line in shown.splitlines() if "measured here" in line]
    assert "protocol paper, 2 folds, 1 seeds" in row and " of 42 " in row
    assert "best test epoch" in shown and "optimistic" in shown and "TF-Mix" in shown
    assert "has run" in clone.run(*tables, "queue", *one_row, "--seeds", "1")
    compared = clone.run(sys.executable, "-m", "stages", "compare", "HEAD", "sample-paper-fdan")
    assert "2 seeds of HEAD, 1 seed of sample-paper-fdan" in compared
    assert "significant" in compared and "McNemar" in compared


def wait_for_queue(clone: Clone) -> None:
    """Until nothing is queued or runs; a worker that has gone is replaced."""

    def done() -> bool:
        states = {row["status"] for row in queue(clone)}
        if "Queued" in states and "Running" not in states:  # a worker may end with tasks waiting
            clone.dvc("queue", "start")
        return not states & {"Queued", "Running"}

    wait_for(done, seconds=600, pause=2)


def queue(clone: Clone) -> list[dict[str, str]]:
    """The tasks of `dvc queue status`: id and status."""
    lines = clone.dvc("queue", "status").splitlines()
    states = ("Queued", "Running", "Success", "Failed")
    rows = []
    for line in lines:
        words = line.split()
        found = [word for word in words if word in states]
        if found:
            rows.append({"task": words[0], "status": found[0]})
    return rows


@pytest.mark.parametrize(
    "settings, errors",
    [
        (["alpha=-1"], ["alpha: -1 is not a number >= 0"]),
        (
            ["alpha=-1", "momentum=1.5", "folds=99"],
            [
                "alpha: -1 is not a number >= 0",
                "momentum: 1.5 is not a number >= 0 and <= 0.9999",
                "folds: 99 is more than the 6 utterances of any emotion; this protocol needs "
                "folds <= 6",
            ],
        ),
        (["sample.speakers=99"], ["sample.speakers: 99 is not an integer >= 2 and <= 16"]),
        (["max_skip_fraction=2"], ["max_skip_fraction: 2 is not a number >= 0 and <= 1"]),
    ],
)
def test_what_is_refused_is_told_a_line_each_and_costs_no_output(
    settings: list[str], errors: list[str], small: tuple[Clone, str]
) -> None:
    clone, _ = small
    before = made(clone)
    assert {"models/replicas.safetensors", "data/raw/sample/README.txt"} <= before.keys()
    overrides = [word for setting in settings for word in ("-S", setting)]
    output = clone.dvc("exp", "run", *overrides, code=255)
    assert stages_run(output) == ["settings"]
    told = [line for line in output.splitlines() if line.startswith("error: ")]
    assert told == [f"error: params.yaml: {text}" for text in errors]
    assert made(clone) == before
    clone.run("git", "checkout", "-q", "params.yaml")
    assert "up to date" in clone.dvc("status")


def made(clone: Clone) -> dict[str, bytes]:
    """The content of every file that a stage has made."""
    folders = [clone.folder / name for name in ("data", "models", "metrics")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    names = {str(path.relative_to(clone.folder)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if ".locks" not in name}


def sample_as_own_corpus(clone: Clone) -> None:
    """The clips of the sample under other names, as a corpus of the user's that is chosen alone."""
    own = clone.folder / "data/raw/folder"
    lines = ["id,speaker,emotion,video,audio,sentence"]
    with open(clone.folder / "data/manifest/sample.csv", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            clip = own / f"clip{number}.mp4"
            clip.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clone.folder / "data/raw/sample" / row["video"], clip)
            speaker = row["speaker"].removeprefix("sample/")
            names = (str(number), speaker, row["emotion"], clip.name, clip.name, row["sentence"])
            lines.append(",".join(names))
    (own / "utterances.csv").write_text("\n".join(lines) + "\n")
    clone.change_params({"corpora": ["folder"], "visual": ["folder"], "acoustic": "folder"})
    clone.change_params({"encoders": {"allow_random_weights": True}})


def test_nothing_of_the_sample_is_left_beside_the_results_of_ones_own_corpus(
    tmp_path: Path, shared_folder: Path
) -> None:
    clone = Clone(tmp_path, SMALL | {"best_test_epoch": True}, shared_folder)
    clone.dvc("repro")
    metrics = clone.folder / "metrics"
    assert "optimistic" in (metrics / "best_test_epoch.json").read_text()
    sample_as_own_corpus(clone)
    clone.change_params({"best_test_epoch": False})

    output = clone.dvc("repro", "report")
    assert stages_run(output)[-1] == "report" and "sample" not in stages_run(output)
    assert {path.stem for path in (metrics / "contact_sheet").iterdir()} == {"folder"}
    assert (metrics / "best_test_epoch.json").read_text() == "{}\n"
    for path in metrics.rglob("*.*"):  # the settings are sample.speakers, ...
        assert not re.search(rb"\bsample\b(?!\.)", path.read_bytes()), path
    assert "Caution: The sample is synthetic" not in output
    shown = clone.dvc("plots", "show")
    assert not re.search("warning|error|missing", shown, re.IGNORECASE), shown
    assert "sample.png" not in (clone.folder / "dvc_plots/index.html").read_text()
    assert "report" not in clone.dvc("status")  # up to date, with the sheet deleted

    # Back to the sample, whose results DVC restores, but for the last stage.
    clone.run("git", "checkout", "-q", "params.yaml")
    output = clone.dvc("repro")
    assert stages_run(output)[-1] == "report" and "Running stage 'evaluate'" not in output
    assert "Look at metrics/report.html." in output


def write_folder_of_emotions(clone: Clone) -> None:
    """A corpus of other synthetic people, in a folder for each emotion but surprise."""
    made = clone.folder / "data/raw/made"
    make_corpus(made, speakers=4, sentences=2, seed=7)
    lines = ["id,speaker,emotion,video,audio"]
    for path in sorted(made.glob("*/*.mp4")):
        speaker, code, sentence = path.stem.split("_")
        emotion = EMOTIONS[CODES.index(code)]
        if emotion != "surprise":
            clip = Path(emotion) / f"{speaker}_{sentence}.mp4"
            (clone.folder / "data/raw/folder" / clip).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, clone.folder / "data/raw/folder" / clip)
            lines.append(f"{path.stem},{speaker},{emotion},{clip},{clip}")
    (clone.folder / "data/raw/folder/utterances.csv").write_text("\n".join(lines) + "\n")
    shutil.rmtree(made)


@pytest.mark.long
def test_a_learning_curve_and_tests_across_corpora_run_as_tables(
    tmp_path: Path, shared_folder: Path
) -> None:
    clone = Clone(tmp_path, SMALL | {"sample": {"speakers": 5, "sentences": 2}}, shared_folder)
    write_folder_of_emotions(clone)
    clone.change_params({"corpora": ["sample", "folder"], "protocol": "speaker"})
    clone.change_params({"encoders": {"allow_random_weights": True}})
    clone.dvc("repro", "evaluate")
    clone.commit("reproduced")

    tables = (sys.executable, "-m", "stages", "tables")
    curve = ("learning_curve", "--only", "fdan-share_1.0,fdan-share_0.25")
    across = ("cross_corpus", "--only", "linear_probe")
    for table in (curve, across):
        clone.run(*tables, "queue", *table, "--seeds", "1")
    clone.dvc("queue", "start")
    wait_for_queue(clone)
    assert [row["status"] for row in queue(clone)] == ["Success"] * (2 + 4)

    shown = clone.run(*tables, "show", *curve)
    sizes = re.findall(r"trained on (\S+) utterances of (\S+) speakers a fold", shown)
    assert sizes == [("28.0", "2.5"), ("11.5", "1.0")]  # and 7 utterances validate
    assert (
        len(re.findall(r"FDAN, 25 % of the training speakers +\|.* (?:yes|no), p = ", shown)) == 1
    )

    shown = clone.run(*tables, "show", *across)
    for trained, tested, speakers in (("sample", "folder", 4), ("folder", "sample", 5)):
        (row,) = [
            line
            for line in shown.splitlines()
            if f"| linear probe, trained on {trained}, tested on {tested} " in line
            and "measured here" in line
        ]
        assert (
            f" of {speakers * 6 * 2} " in row
            and f"trained on {trained}, tested on {tested}, vis" in row
        )
        assert "6 classes (anger, disgust, fear, happiness, neutral, sadness), 1 folds" in row
        drops = [
            line
            for line in shown.splitlines()
            if f"probe, trained on {trained}, tested on {tested} " in line and ", p = " in line
        ]
        assert len(drops) == 1 and re.search(r"[+-]\d+\.\d\d \[", drops[0])

    # All that `dvc repro` makes, in the workspace.
    output = clone.dvc("exp", "run", "-S", "test=folder", "-S", "seeds=1", "--name", "across")
    said = "fdan trained on sample, tested on folder, 6 classes"
    assert output.count(f"{said} (anger, ") >= 2
    assert said in (clone.folder / "metrics/report.html").read_text()
    contents = json.loads((clone.folder / "models/bundle" / CONTENTS).read_text())
    data = contents["data"]
    assert (data["acoustic"], data["visual"], data["speakers"]) == ("sample", ["sample"], 5)
    assert data["utterances"] == 5 * 6 * 2 and contents["result"]["test"] == "folder"
    shown = clone.run(sys.executable, "-m", "stages", "robustness", "--conditions", "quiet")
    assert f"{4 * 6 * 2} test utterances" in shown  # of the corpus tested, in its clips
    refused = clone.dvc("exp", "run", "-S", "test=sample", code=255)
    assert "error: params.yaml: test: sample is what trains, too" in refused


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.long)])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_folder: Path
) -> Clone:
    """A clone with the committed params, but perhaps fewer seeds, on which `dvc repro` has run."""
    clone = Clone(tmp_path_factory.mktemp("whole"), {"seeds": request.param}, shared_folder)
    clone.dvc("repro", "evaluate")
    clone.commit("reproduced")
    return clone


def test_the_sample_is_learnt(whole: Clone) -> None:
    metrics = whole.metrics()
    assert metrics["n_test"] == 168
    assert 0.70 <= metrics["uar"] < 1.0


def test_shuffled_labels_are_not_learnt(whole: Clone) -> None:
    output = whole.dvc("exp", "run", "-S", "shuffle_labels=true", "-S", "seeds=1", "evaluate")
    assert stages_run(output) == ["settings", "plan", "split", "train", "evaluate"]
    metrics = whole.metrics()
    assert metrics["labels_shuffled"] is True
    assert 0.05 <= metrics["uar"] <= 0.25
