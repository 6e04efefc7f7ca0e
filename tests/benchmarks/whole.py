"""The whole: what every stage costs, for the sample and for ever more clips of 720p."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

import joblib
from ruamel.yaml import YAML

from stages.corpora.emotions import EMOTIONS
from stages.io.files import write_table
from tests.benchmarks.clips import talking_clip
from tests.benchmarks.timing import cores

ROOT = Path(__file__).parents[2]
MELD = 13_708  # utterances
EXTRACTION = (
    "manifest",
    "frames",
    "mels",
    "contact_sheet",
    "visual_features",
    "acoustic_features",
    "transcripts",
    "linguistic_features",
)
TRAINING = ("split", "train", "evaluate", "best_test_epoch", "tsne")
COLUMNS = ["id", "speaker", "emotion", "video", "audio"]
SPEAKERS = 8
RUNS = 3


class Cost(NamedTuple):
    """Of one stage: seconds, and MB of the largest of its processes."""

    stage: str
    clips: int
    seconds: float
    memory: float


def project(folder: Path, corpus: str, epochs: int | None) -> None:
    """A folder in which the stages run on one corpus, with the params of this one."""
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"corpora": [corpus], "visual": [corpus], "acoustic": corpus}
    params["encoders"]["allow_random_weights"] = True
    params["epochs"] = epochs or params["epochs"]
    folder.mkdir()
    YAML(typ="safe").dump(params, folder / "params.yaml")


def cost(folder: Path, stage: str, corpus: str, clips: int) -> Cost:
    """Run a stage in a project."""
    words = [corpus] if stage in EXTRACTION else []
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


def of_sample(epochs: int | None) -> Iterator[Cost]:
    """Every stage on the embedded corpus."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "sample"
        project(folder, "sample", epochs)
        for stage in ("sample", *EXTRACTION, *TRAINING):
            yield cost(folder, stage, "sample", 168)


def of_clips(counts: Sequence[int], epochs: int | None, runs: int) -> Iterator[Cost]:
    """Every stage on so many clips of 3 s, 720p, each a recording of its own.

    Runs of more and of fewer clips take turns, after a first one, which takes longer.
    """
    speakers, emotions = range(SPEAKERS), range(len(EMOTIONS))
    utterances = list(islice(product(range(99), speakers, emotions), max(counts)))
    with tempfile.TemporaryDirectory() as name:
        clips = Path(name) / "clips"
        clips.mkdir()
        draw = joblib.delayed(partial(talking_clip, size=(1280, 720), preset="veryfast"))
        joblib.Parallel(n_jobs=cores())(
            draw(clips / f"{i:03}.mp4", utterance=(speaker, emotion, sentence))
            for i, (sentence, speaker, emotion) in enumerate(utterances)
        )
        for number, count in enumerate([counts[0], *counts * runs]):
            with tempfile.TemporaryDirectory(dir=name) as folder:
                found = of_corpus(Path(folder) / "project", clips, utterances[:count], epochs)
                yield from found if number > 0 else ()


def of_corpus(
    folder: Path, clips: Path, utterances: Sequence[tuple[int, int, int]], epochs: int | None
) -> list[Cost]:
    """Every stage on some of the clips: utterances are (sentence, speaker, emotion)."""
    project(folder, "folder", epochs)
    corpus = folder / "data/raw/folder"
    corpus.mkdir(parents=True)
    rows = []
    for i, (_, speaker, emotion) in enumerate(utterances):
        clip = f"{i:03}.mp4"
        os.link(clips / clip, corpus / clip)
        rows.append(
            {
                "id": clip[:-4],
                "speaker": str(speaker),
                "emotion": EMOTIONS[emotion],
                "video": clip,
                "audio": clip,
            }
        )
    write_table(corpus / "utterances.csv", COLUMNS, rows)
    return [cost(folder, stage, "folder", len(rows)) for stage in (*EXTRACTION, *TRAINING)]


def medians(found: Iterable[Cost]) -> list[Cost]:
    """Of all runs of a stage on so many clips, in the order of their first."""
    runs = defaultdict(list)
    for item in found:
        runs[item.stage, item.clips].append(item)
    return [
        Cost(*of, *(statistics.median(column) for column in zip(*(item[2:] for item in items))))
        for of, items in runs.items()
    ]


def shares(found: Sequence[Cost]) -> Iterator[str]:
    """A table of what each stage takes of the whole."""
    total, clips = sum(item.seconds for item in found), found[0].clips
    yield "| stage | s | ms a clip | share | MB |"
    yield "|---|---|---|---|---|"
    for item in (*found, Cost("all", clips, total, max(item.memory for item in found))):
        yield (
            f"| {item.stage} | {item.seconds:.1f} | {1000 * item.seconds / clips:.0f} "
            f"| {item.seconds / total:.0%} | {item.memory:.0f} |"
        )


def growth(found: Sequence[Cost], counts: tuple[int, int, int]) -> Iterator[str]:
    """A table of what ever more clips cost in each stage, and so what all of MELD would.

    The slope is that of the straight line through the first and the last of three counts; how far
    the middle one lies off it tells how straight it is.
    """
    seconds = {(item.stage, item.clips): item.seconds for item in found}
    fewest, middle, most = counts
    headings = " | ".join(f"{count} clips, s" for count in counts)
    yield f"| stage | {headings} | off the line | ms a clip more | MELD's {MELD:,} |"
    yield "|---|" + "---|" * (len(counts) + 3)
    rows = {
        stage: [seconds[stage, count] for count in counts] for stage in (*EXTRACTION, *TRAINING)
    }
    rows["all"] = [sum(column) for column in zip(*rows.values())]
    for stage, row in rows.items():
        slope = (row[-1] - row[0]) / (most - fewest)
        off = row[1] / (row[0] + slope * (middle - fewest)) - 1
        of_meld = row[-1] + slope * (MELD - most)
        cells = " | ".join(f"{value:.1f}" for value in row)
        yield f"| {stage} | {cells} | {off:+.0%} | {round(1000 * slope)} | {of_meld / 60:.0f} min |"


def tables(
    counts: tuple[int, int, int] = (100, 200, 500), epochs: int | None = None
) -> Iterator[str]:
    """All tables, as lines of Markdown.

    Args:
        counts: of clips, ever more.
        epochs: of training; None for those of params.yaml.
    """
    yield f"The sample, 168 clips of 320x240, {cores()} cores"
    yield ""
    yield from shares(list(of_sample(epochs)))
    found = medians(of_clips(counts, epochs, RUNS))
    yield ""
    yield f"{counts[-1]} clips of 3 s, 1280x720, {cores()} cores, medians of {RUNS} runs"
    yield ""
    yield from shares([item for item in found if item.clips == counts[-1]])
    yield ""
    yield from growth(found, counts)
