"""Sample: a small corpus of synthetic talking heads, so that the pipeline runs without a download.

In:  nothing
Out: data/raw/sample/<speaker>/<speaker>_<emotion>_<sentence>.mp4, if params.yaml's corpora name it
Run: dvc repro sample, or python -m stages.sample

Faces are drawn and voices synthesised (stages/synthesis/), no person was recorded; every speaker
says every sentence with all seven emotions. Not of the paper: a score on this corpus shows that the
pipeline works and nothing else. Do not report it.
"""

import os
import shutil
from itertools import product
from pathlib import Path

from joblib import Parallel, delayed

from stages.corpora.emotions import CODES, EMOTIONS
from stages.io.files import write_text
from stages.runtime.command import end_with, run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import RAW
from stages.runtime.progress import track
from stages.synthesis.clip import make_clip

NOT_ASKED_FOR = "Not made: params.yaml's corpora do not name sample.\n"


def make_corpus(folder: Path, speakers: int, sentences: int, seed: int, jobs: int = -1) -> None:
    """Write the corpus to `folder`, whole or not at all; a folder of that name is replaced.

    The files are the same, byte for byte, whatever the number of processes `jobs`.
    """
    folder = folder.absolute()  # processes that joblib has kept may work in another folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        clips = []
        for i, j, k in product(range(speakers), range(len(EMOTIONS)), range(sentences)):
            name = f"{'FM'[i % 2]}{i // 2 + 1}"  # F1, M1, F2, M2, ...
            (partial / name).mkdir(parents=True, exist_ok=True)
            path = partial / name / f"{name}_{CODES[j]}_s{k + 1}.mp4"
            clips.append(delayed(make_clip)(path, i, EMOTIONS[j], k, seed))
        (partial / "README.txt").write_text(str(__doc__), encoding="utf-8")
        workers = Parallel(
            jobs, return_as="generator_unordered", initializer=end_with, initargs=(os.getpid(),)
        )
        made = workers(clips)
        for _ in track(made, total=len(clips), label="sample", unit="clips"):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    """Make the corpus, where it is one of params.yaml's."""
    params = read_params()
    if "sample" in params.corpora:
        make_corpus(RAW / "sample", **params.sample.model_dump())
    else:  # so that `dvc repro` and `dvc push` do without it
        write_text(RAW / "sample/README.txt", NOT_ASKED_FOR)


if __name__ == "__main__":
    run_stage(main, __doc__)
