"""Results go from clone to clone by git and a DVC remote, as CONTRIBUTING.md says."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.clone import Clone, Repository
from tests.test_pipeline import SMALL


@pytest.mark.long
@pytest.mark.parametrize("corpus", ["sample", "sample_own"])
def test_what_is_pushed_is_pulled_compared_and_up_to_date(
    tmp_path: Path, shared_folder: Path, corpus: str
) -> None:
    made = Clone(tmp_path / "made", SMALL, shared_folder)
    if corpus != "sample":  # one that a person put there, which no clone has
        made.dvc("repro", "sample")
        shutil.copytree(made.folder / "data/raw/sample", made.folder / f"data/raw/{corpus}")
        made.change_params({"corpora": [corpus], "visual": [corpus], "acoustic": corpus})
    made.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    for alpha in (0.001, 10):
        made.change_params({"alpha": alpha})
        made.dvc("repro")
        made.commit(f"alpha {alpha}")
        made.dvc("push")

    other = Repository(tmp_path / "other")
    made.run("git", "clone", "-q", str(made.folder), str(other.folder))
    other.environment["FDAN_CACHE"] = str(tmp_path / "clips")
    other.dvc("pull")
    compared = other.run(sys.executable, "-m", "stages", "compare", "HEAD~1", "HEAD")
    assert "test utterances" in compared
    missing = [] if corpus == "sample" else ["--allow-missing"]
    assert "Running stage" not in other.dvc("repro", *missing)
    assert other.run("git", "status", "--porcelain") == ""
    metrics = (made.folder / "metrics/predictions.csv").read_bytes()
    assert (other.folder / "metrics/predictions.csv").read_bytes() == metrics
