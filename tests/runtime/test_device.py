"""Where networks run follows from the machine, and a full GPU is told in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from stages.runtime.device import enough_memory, pick_device
from stages.runtime.errors import UserError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    mode = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(mode)


@pytest.mark.parametrize("there, device", [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(
    there: bool, device: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device() == device


def test_what_runs_there_is_deterministic():
    torch.set_deterministic_debug_mode("default")
    pick_device()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_compiler_is_not_loaded_for_it():
    """It takes seconds, in every process."""
    asks = (
        "import sys; from stages.runtime import device; device.pick_device()\n"
        "print('torch._inductor' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", asks], stdout=subprocess.PIPE, check=True).stdout
    assert said == b"False\n"


def test_a_full_gpu_is_one_line_with_advice():
    with pytest.raises(UserError) as caught, enough_memory("train: fold 0", "lower batch_size"):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
    assert str(caught.value) == (
        "train: fold 0: the GPU has no memory left; lower batch_size, free it of other work, or "
        "set CUDA_VISIBLE_DEVICES= (empty) to run on the CPU"
    )


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), enough_memory("train", "wait"):
        1 / 0
