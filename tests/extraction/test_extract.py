"""Every clip through one function: in order, none twice, and failures become rows."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.extraction import workers
from stages.extraction.clip_cache import Layout, cache_folder, read_entry
from stages.extraction.extract import extract
from stages.extraction.workers import LOCAL
from stages.io.files import read_table
from stages.runtime.errors import UserError
from tests.clip_work import process
from tests.clone import Clone
from tests.helpers import wait_for

ROOT = Path(__file__).parents[2]
TABLE = Path("data/skipped/sample.mels.csv")


def rows_of(*names: str) -> list[dict[str, str]]:
    """Clips that hold their names; an empty name is an utterance without a clip."""
    folder = Path("data/raw/sample")
    folder.mkdir(parents=True, exist_ok=True)
    for name in filter(None, names):
        (folder / name).write_text(name)
    return [{"id": f"sample/{i}", "emotion": "fear", "audio": name} for i, name in enumerate(names)]


@pytest.fixture(autouse=True)
def one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use_cores(1, monkeypatch)


def use_cores(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: count)


def results(
    rows: list[dict[str, str]], fraction: float = 0.5, stage: str = "mels", **settings: Any
) -> list[tuple[str, str]]:
    """Ids and what was made of the clips."""
    settings = {"log": str(Path("log").absolute()), **settings}
    made = extract(rows, "audio", process, settings, "sample", stage, fraction, LOCAL)
    return [(row["id"], bytes(arrays["values"]).decode()) for row, arrays in made]


def worked_on() -> list[str]:
    """The clips that were worked on since the last time this was asked."""
    log = Path("log")
    names = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(names)


def test_each_utterance_comes_with_the_result_of_its_clip():
    rows = rows_of("a.wav", "b.wav")
    assert results(rows) == [("sample/0", "made of a.wav"), ("sample/1", "made of b.wav")]


def test_two_processes_keep_the_order(monkeypatch: pytest.MonkeyPatch):
    use_cores(2, monkeypatch)
    names = [*(f"clip{i}" for i in range(12)), "bad0", "clip12"]
    expected = [(f"sample/{i}", f"made of {name}") for i, name in enumerate(names) if i != 12]
    assert results(rows_of(*names), wait=0.2) == expected
    assert [row["id"] for row in read_table(TABLE)] == ["sample/12"]


def test_an_utterance_without_a_clip_is_passed_over():
    assert [name for name, _ in results(rows_of("a.wav", "", "b.wav"))] == ["sample/0", "sample/2"]


def test_a_clip_that_cannot_be_used_becomes_a_row():
    rows = rows_of("a.wav", "bad.wav", "b.wav")
    assert [name for name, _ in results(rows)] == ["sample/0", "sample/2"]
    assert read_table(TABLE) == [
        {
            "id": "sample/1",
            "emotion": "fear",
            "stage": "mels",
            "code": "unreadable",
            "detail": "bad.wav is no clip",
        }
    ]


def test_the_table_is_written_when_nothing_was_left_out():
    results(rows_of("a.wav"))
    assert read_table(TABLE) == []


def test_an_emotion_that_is_skipped_far_more_often_is_told_at_the_end(
    capsys: pytest.CaptureFixture[str],
):
    rows = rows_of(*(f"bad{i}" for i in range(4)), *(f"good{i}" for i in range(30)))
    rows = [row | {"emotion": "fear" if i < 5 else "anger"} for i, row in enumerate(rows)]
    results(rows)
    assert capsys.readouterr().out == (
        "mels@sample: warning: fear is skipped far more often than the other emotions: "
        "4 of 5 against 0 of 29; see data/skipped\n"
    )


def test_nothing_to_do_is_no_failure():
    assert results([]) == [] and read_table(TABLE) == []


def test_too_many_failures_stop_the_stage_and_all_are_named():
    """Also those after the one that is one too many."""
    names = [f"bad{i}.wav" if i in (1, 3, 490) else f"c{i}.wav" for i in range(500)]
    expected = (
        r"names the 3 of 500 .* max_skip_fraction: 0.002 allows: sample/1 \(unreadable: bad1.* "
        r"sample/490 \("
    )
    with pytest.raises(UserError, match=expected):
        results(rows_of(*names), fraction=0.002)
    assert [row["id"] for row in read_table(TABLE)] == ["sample/1", "sample/3", "sample/490"]


def test_as_many_failures_as_allowed_do_not_stop_the_stage():
    assert len(results(rows_of("a.wav", "bad1.wav", "b.wav", "c.wav"), fraction=0.25)) == 3


def test_the_fraction_is_of_the_utterances_that_have_a_clip():
    with pytest.raises(UserError, match="of 2 utterances"):
        results(rows_of("bad.wav", "a.wav", *[""] * 20), fraction=0.1)


def test_what_a_person_must_mend_ends_the_stage():
    with pytest.raises(UserError, match="this a person must mend"):
        results(rows_of("a.wav", "user.wav"))


def test_what_nobody_foresaw_costs_its_clip_alone_and_is_not_kept():
    for _ in range(2):
        assert results(rows_of("a.wav", "bug.wav")) == [("sample/0", "made of a.wav")]
        (row,) = read_table(TABLE)
        assert row["code"] == "unforeseen" and "ZeroDivisionError: a mistake" in row["detail"]
    assert worked_on().count("bug.wav") == 2


@pytest.mark.parametrize("cores", [1, 2])
def test_a_clip_that_crashes_its_decoder_costs_itself_alone(
    cores: int, monkeypatch: pytest.MonkeyPatch
):
    use_cores(cores, monkeypatch)
    names = ["a.wav", "b.wav", "crash.wav", "c.wav", "d.wav"]
    rows = rows_of(*names)
    expected = [(f"sample/{i}", f"made of {name}") for i, name in enumerate(names) if i != 2]
    assert results(rows) == expected
    (row,) = read_table(TABLE)
    assert (row["id"], row["code"]) == ("sample/2", "decoder_crash")
    assert row["detail"] == "the decoder ended with SIGSEGV"
    assert Counter(worked_on()) == Counter([*names, "crash.wav"])  # it gets a second chance,
    assert results(rows) == expected
    assert worked_on() == ["crash.wav"] * 2  # and in another run as well


def test_no_clip_is_worked_on_twice():
    rows = rows_of("a.wav", "bad.wav", "b.wav")
    first, table = results(rows), TABLE.read_bytes()
    assert worked_on() == ["a.wav", "b.wav", "bad.wav"]
    TABLE.unlink()
    assert (results(rows), TABLE.read_bytes()) == (first, table)
    assert worked_on() == []


def test_ten_clips_more_cost_ten(monkeypatch: pytest.MonkeyPatch):
    use_cores(2, monkeypatch)
    names = [f"clip{i}.wav" for i in range(500)]
    assert len(results(rows_of(*names))) == len(worked_on()) == 500
    more = [f"another{i}.wav" for i in range(10)]
    assert len(results(rows_of(*names[:250], *more, *names[250:]))) == 510
    assert worked_on() == more


def test_a_clip_of_another_name_and_place_costs_nothing():
    results(rows_of("a.wav"))
    worked_on()
    rows = rows_of("b.wav")
    Path("data/raw/sample/b.wav").write_text("a.wav")
    assert results(rows) == [("sample/0", "made of a.wav")]
    assert worked_on() == []


def test_a_clip_that_changed_costs_itself():
    rows = rows_of("a.wav", "b.wav")
    results(rows)
    worked_on()
    Path("data/raw/sample/b.wav").write_text("new")
    assert results(rows) == [("sample/0", "made of a.wav"), ("sample/1", "made of new")]
    assert worked_on() == ["b.wav"]


def test_a_clip_that_was_mended_is_tried_again():
    rows = rows_of("a.wav", "bad.wav")
    results(rows)
    Path("data/raw/sample/bad.wav").write_text("good")
    assert results(rows)[1] == ("sample/1", "made of good")
    assert read_table(TABLE) == []


def test_a_setting_costs_the_stage_that_has_it_and_the_way_back_nothing():
    rows = rows_of("a.wav", "b.wav")
    results(rows, stage="frames", margin=0.2)
    results(rows, stage="mels", n_mels=128)
    worked_on()
    results(rows, stage="frames", margin=0.3)
    assert worked_on() == ["a.wav", "b.wav"]
    results(rows, stage="mels", n_mels=128)
    results(rows, stage="frames", margin=0.2)
    results(rows, stage="frames", fraction=0.9, margin=0.2)  # max_skip_fraction
    assert worked_on() == []


def test_a_clip_that_is_absent_becomes_a_row_and_is_not_kept():
    rows = rows_of("a.wav", "b.wav")
    Path("data/raw/sample/b.wav").unlink()
    assert results(rows) == [("sample/0", "made of a.wav")]
    (row,) = read_table(TABLE)
    assert (row["id"], row["code"]) == ("sample/1", "unreadable")
    assert row["detail"] == "cannot be opened: No such file or directory"
    assert len(list((cache_folder() / "mels").iterdir())) == 1


def test_a_damaged_entry_costs_its_clip():
    rows = rows_of("a.wav", "b.wav")
    first = results(rows)
    worked_on()
    entry = min((cache_folder() / "mels").iterdir())
    entry.write_bytes(entry.read_bytes()[:-1])
    assert results(rows) == first and len(worked_on()) == 1


def test_a_stage_keeps_the_cache_below_its_limit_and_what_it_used_itself(
    monkeypatch: pytest.MonkeyPatch,
):
    results(rows_of("a.wav", "b.wav"))
    entries = sorted((cache_folder() / "mels").iterdir())
    for entry in entries:
        os.utime(entry, (0, 0))
    monkeypatch.setenv("FDAN_CACHE_GB", "0")
    worked_on()
    results(rows_of("a.wav", "c.wav"))
    assert worked_on() == ["c.wav"]
    left = set((cache_folder() / "mels").iterdir())
    assert len(left) == 2 and len(left & set(entries)) == 1


def test_a_limit_that_is_no_number_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FDAN_CACHE_GB", "much")
    with pytest.raises(UserError, match="^FDAN_CACHE_GB: 'much' is not"):
        results(rows_of("a.wav"))
    assert worked_on() == []


def test_a_cache_that_cannot_be_written_ends_the_stage_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FDAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written: .*FDAN_CACHE"):
        results(rows_of(*(f"clip{i}.wav" for i in range(500))))
    assert len(worked_on()) < 500


STAGE = """
import contextlib, sys
from stages.runtime.command import run
from stages.extraction.extract import extract
from stages.io.files import replacing
from pathlib import Path
from tests.clip_work import process

def main():
    rows = [{"id": str(i), "emotion": "fear", "audio": f"clip{i}0"} for i in range(40)]
    settings = {"log": str(Path("log").absolute()), "wait": 600}
    made = extract(rows, "audio", process, settings, "sample", "mels", 0.5, "local")
    with contextlib.closing(made), replacing(Path("data/out")) as temporary:
        temporary.touch()
        list(made)

run(main, lock="mels")
"""


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("group", [False, True])
def test_a_stopped_stage_ends_at_once_with_its_children(
    number: signal.Signals, code: int, group: bool
):
    rows_of(*(f"clip{i}0" for i in range(40)))
    Path("params.yaml").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not Path("log").exists():
        assert stage.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    start = time.monotonic()
    (os.killpg if group else os.kill)(stage.pid, number)
    # Until the children, too, have closed their ends.
    said, _ = stage.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert stage.returncode == code
    assert said == ("interrupted\n" if number == signal.SIGINT else "")
    if number != signal.SIGKILL:
        assert not TABLE.exists() and list(Path("data").glob("*out*")) == []


@pytest.mark.parametrize("name", ["../other/a.wav", "clips/../../a.wav", "/etc/passwd"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(name: str) -> None:
    rows = [{"id": "sample/0", "emotion": "fear", "audio": name}]
    with pytest.raises(UserError, match=f"^data/manifest/sample.csv: '{name}' leaves "):
        results(rows)
    assert worked_on() == []


TOGETHER = """
import sys, time
from pathlib import Path
from stages.extraction.extract import extract
from stages.runtime.command import run
from tests.clip_work import make_much

def main():
    rows = [{"id": str(i), "emotion": "fear", "audio": f"{i}.wav"} for i in range(60)]
    while time.time() < float(sys.argv[1]):
        pass
    made = extract(rows, "audio", make_much, {}, "sample", "mels", 0, "local")
    assert sum(arrays["values"].sum() for _, arrays in made) == 60 << 22

run(main)
"""


def test_two_runs_and_equal_clips_side_by_side_share_their_entries(tmp_path: Path):
    runs = []
    start = str(time.time() + 5)
    for clone in (tmp_path / "a", tmp_path / "b", tmp_path / "c"):
        (clone / "data/raw/sample").mkdir(parents=True)
        (clone / "params.yaml").touch()
        for i in range(60):
            (clone / f"data/raw/sample/{i}.wav").write_text(f"{i // 6}")  # six alike
        command = [sys.executable, "-c", TOGETHER, start]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        runs.append(
            subprocess.Popen(command, cwd=clone, env=environment, stderr=subprocess.PIPE, text=True)
        )
    for run in runs:
        _, said = run.communicate(timeout=300)
        assert run.returncode == 0, said
    assert len(list((cache_folder() / "mels").iterdir())) == 10  # and nothing beside them


@pytest.mark.long
def test_two_experiments_of_a_queue_share_their_entries(tmp_path: Path):
    changes = {"sample": {"speakers": 2, "sentences": 2}, "folds": 2, "selection": "last"}
    clone = Clone(tmp_path / "clone", changes)
    clone.dvc("repro", "manifest@sample")
    clone.commit("manifest")
    for fraction in ("0.03", "0.04"):
        clone.dvc("exp", "run", "--queue", "-S", f"max_skip_fraction={fraction}", "mels@sample")
    clone.dvc("queue", "start", "-j", "2")
    wait_for(lambda: "Queued" not in (status := clone.dvc("queue", "status"))
             and "Running" not in status, 300, 1)  # fmt: skip
    assert clone.dvc("queue", "status").count("Success") == 2


def test_an_entry_that_another_deletes_once_it_is_made_is_made_once_more(
    monkeypatch: pytest.MonkeyPatch,
):
    deleted = []

    def read_once_deleted(entry: Path, layout: Layout) -> Any:
        if entry not in deleted:
            deleted.append(entry)
            entry.unlink()
        return read_entry(entry, layout)

    monkeypatch.setattr("stages.extraction.extract.read_entry", read_once_deleted)
    assert results(rows_of("a.wav")) == [("sample/0", "made of a.wav")]
    assert worked_on() == ["a.wav"] * 2


def test_an_entry_that_is_never_there_ends_the_stage_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stages.extraction.extract.read_entry", lambda *_: None)
    with pytest.raises(UserError, match="what was made of a.wav is not there; keep the cache"):
        results(rows_of("a.wav"))
