"""params.yaml is committed as DVC writes it, so that an experiment changes its own line alone."""

import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from tests.helpers import ROOT

COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_what_dvc_reads_it_writes_to_the_same_bytes(path: Path) -> None:
    with modify_yaml(str(path)):
        pass
    assert path.read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [("alpha=1e-5", "alpha: 0.001", ["alpha: 1e-05"]),
     ("mels.fmin=50", "  fmin: 20.0", ["  fmin: 50"]),
     ("protocol=speaker", "protocol: paper", ["protocol: speaker"]),
     ("acoustic_only=true", "acoustic_only: false", ["acoustic_only: true"]),
     ("augmentation.noise_db=[10,20]", "  noise_db: []", ["  noise_db:", "  - 10", "  - 20"]),
     ("visual=[sample,savee]", "- sample", ["- sample", "- savee"])],
)  # fmt: skip
def test_an_override_changes_its_line_alone(
    path: Path, override: str, old: str, new: list[str]
) -> None:
    apply_overrides(str(path), [override])
    place = len(COMMITTED) - 1 - COMMITTED[::-1].index(old)  # of two lists `visual` is the last
    expected = [*COMMITTED[:place], *new, *COMMITTED[place + 1 :]]
    assert path.read_text(encoding="utf-8").splitlines() == expected
