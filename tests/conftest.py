"""What all tests share: one thread each, examples that are the same every time, and own caches."""

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

# Small tensors lose more than they gain by threads, most of all where others use the cores too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# A shell has what it starts in the background ignore Ctrl-C, and so do the stages of tests then.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

NUMBERS = count()
# The files that take longest begin first, so that both processes end at about the same time.
LONGEST = ("test_pipeline", "test_kills", "test_full_disk", "test_memory", "test_workers")
WEIGHTS = ("face_detection_yunet_2023mar.onnx", "squeezenet1_1-b8a52dc0.pth")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutants", type=int, help="how many each for test_fuzz.py")
    parser.addoption("--mutant-seed", type=int, default=0, help="what they all follow from")
    parser.addoption("--mutant", type=int, help="only the one of this number")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else 9)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share, for what is made once."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For what fixtures of a whole module run; see stages/extraction/clip_cache.py."""
    os.environ["FDAN_CACHE"] = str(tmp_path_factory.mktemp("caches") / "shared")


@pytest.fixture(autouse=True)
def _own_cache(_no_cache_of_the_user: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.environ["FDAN_CACHE"]
    monkeypatch.setenv("FDAN_CACHE", f"{shared}.{next(NUMBERS)}")


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clips worked on in this process: a child would load torch or librosa for seconds."""
    from stages.extraction import workers

    alone = Lock()  # as in a child: OpenCV's cascade bears no two threads at once

    def call(function: Callable[..., Any], clip: Path, settings: dict[str, Any]) -> Any:
        with alone:
            return function(clip, **settings)

    monkeypatch.setattr(workers, "call_in_child", call)


@pytest.fixture
def torch_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.hub's cache with the weights; skips the test where they are not."""
    beside = Path(__file__).parents[2] / "shared/torch-home"
    folder = Path(os.environ.get("TORCH_HOME", beside)).resolve()
    missing = [name for name in WEIGHTS if not (folder / "hub/checkpoints" / name).exists()]
    if missing:
        pytest.skip(f"no {', '.join(missing)} in {folder}; set TORCH_HOME")
    monkeypatch.setenv("TORCH_HOME", str(folder))
