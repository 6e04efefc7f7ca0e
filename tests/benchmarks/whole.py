"""The whole: what every stage costs, for the sample and for ever more clips of 720p."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from stages.emotions import EMOTIONS
from stages.files import write_table
from tests.benchmarks.clips import copies, talking_clip
from tests.benchmarks.timing import cores

ROOT = Path(__file__).parents[2]
MELD = 13_708  # utterances
EXTRACTION = ("manifest", "frames", "mels", "features")
TRAINING = ("split", "train", "evaluate", "best_test_epoch", "tsne")
COLUMNS = ["id", "speaker", "emotion", "video", "audio"]


class Cost(NamedTuple):
    """Of one stage: seconds, and MB of the largest of its processes."""

    stage: str
    clips: int
    seconds: float
    memory: float


def project(folder: Path, corpus: str) -> None:
    """A folder in which the stages run on one corpus."""
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"corpora": [corpus], "visual": [corpus], "acoustic": corpus}
    params["features"]["allow_random_weights"] = True
    # All clips are of one speaker who looks and sounds the same.
    params["duplicates"] = "drop"
    YAML(typ="safe").dump(params, folder / "params.yaml")


def cost(folder: Path, stage: str, corpus: str, clips: int) -> Cost:
    """Run a stage in a project."""
    words = [corpus] if stage in (*EXTRACTION, "contact_sheet") else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FDAN_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *words], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"stages.{stage} ended with {process.returncode}; run it by itself")
    return Cost(stage, clips, seconds, usage.ru_maxrss / 1000)


def of_sample() -> Iterator[Cost]:
    """Every stage on the embedded corpus."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder, "sample")
        for stage in ("sample", *EXTRACTION, "contact_sheet", *TRAINING):
            yield cost(folder, stage, "sample", 168)


def of_clips(count: int) -> Iterator[Cost]:
    """The stages of extraction on so many clips of 3 s, 720p, from one file to the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder, "folder")
        corpus = folder / "data/raw/folder"
        names = copies(talking_clip(folder / "clip.mp4", (1280, 720)), corpus, count)
        rows = [
            {"id": str(i), "speaker": str(i % 8), "emotion": EMOTIONS[i % len(EMOTIONS)],
             "video": clip, "audio": clip}
            for i, clip in enumerate(names)
        ]  # fmt: skip
        write_table(corpus / "utterances.csv", COLUMNS, rows)
        for stage in EXTRACTION:
            yield cost(folder, stage, "folder", count)
        shutil.rmtree(folder / "cache")


def tables(counts: tuple[int, ...] = (100, 200, 500)) -> Iterator[str]:
    """Both tables, as lines of Markdown."""
    found = list(of_sample())
    total = sum(item.seconds for item in found)
    yield f"The sample, 168 clips, {cores()} cores: {total:.0f} s"
    yield ""
    yield "| stage | seconds | share | MB |"
    yield "|---|---|---|---|"
    for item in found:
        share = item.seconds / total
        yield f"| {item.stage} | {item.seconds:.1f} | {share:.0%} | {item.memory:.0f} |"
    yield ""
    of_stage: dict[str, list[Cost]] = {stage: [] for stage in EXTRACTION}
    for count in counts:
        for item in of_clips(count):
            of_stage[item.stage].append(item)
    headings = " | ".join(f"{count} clips: s (ms a clip)" for count in counts)
    yield f"Clips of 3 s, 720p, {cores()} cores; MELD's {MELD} clips by the steepest part"
    yield ""
    yield f"| stage | {headings} | MB | MELD |"
    yield "|---|" + "---|" * (len(counts) + 2)
    for stage, items in of_stage.items():
        cells = " | ".join(
            f"{item.seconds:.1f} ({1000 * item.seconds / item.clips:.0f})" for item in items
        )
        few, many = items[0], items[-1]
        a_clip = (many.seconds - few.seconds) / (many.clips - few.clips)
        minutes = (many.seconds + a_clip * (MELD - many.clips)) / 60
        yield f"| {stage} | {cells} | {many.memory:.0f} | {minutes:.0f} min |"
