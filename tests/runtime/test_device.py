"""Where networks run follows from the machine, and a full GPU is told in one line."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.runtime import device
from stages.runtime.device import (
    check_precision,
    enough_memory,
    pick_device,
    require_determinism,
)
from stages.runtime.errors import UserError
from tests.helpers import user_error

REAL_ONES = torch.ones


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    mode = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(mode)


def pick(capsys: pytest.CaptureFixture) -> tuple[str, str]:
    """The device, and what was said on the way."""
    return pick_device(), capsys.readouterr().err


def test_a_gpu_is_used_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *_, device: REAL_ONES(1))
    assert pick(capsys) == ("cuda", "")


def test_without_one_nothing_is_said(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "DRIVER", Path("/nowhere"))
    assert pick(capsys) == ("cpu", "")


@pytest.mark.parametrize("hidden, lines", [("", 0), ("-1", 0), ("0", 1)])
def test_a_driver_that_is_too_old_is_told_in_one_line(
    hidden: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path
):
    def too_old() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=1
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    monkeypatch.setattr(device, "DRIVER", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    picked, said = pick(capsys)
    assert picked == "cpu" and len(said.splitlines()) == lines
    assert "driver on your system is too old" in said or not lines


def test_a_card_that_the_wheel_does_not_serve_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def no_kernel(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", no_kernel)
    picked, said = pick(capsys)
    assert picked == "cpu" and len(said.splitlines()) == 1 and "no kernel image" in said


def test_a_workspace_that_is_not_deterministic_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    with pytest.raises(UserError, match=r"^CUBLAS_WORKSPACE_CONFIG: ':0:0' does not .*:16:8$"):
        require_determinism()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    require_determinism()


def test_float32_is_not_tensorfloat32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    require_determinism()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


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


KEY = "encoders.visual.precision"
LACKING_CPU = {"cpu_name": "Intel Xeon E5", "avx2": True, "avx512_f": True, "avx512_bf16": False}


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_is_for_cpus_that_have_it(monkeypatch: pytest.MonkeyPatch, instruction: str):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: LACKING_CPU | {instruction: True})
    check_precision("bf16", "cpu", KEY)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: LACKING_CPU)
    check_precision("fp32", "cpu", KEY)
    assert user_error(check_precision, "bf16", "cpu", KEY) == (
        f"params.yaml: {KEY}: the CPU (Intel Xeon E5) has no bfloat16 arithmetic "
        "(avx512_bf16 or amx_bf16), and would be far slower than with fp32; set fp32"
    )


def test_bfloat16_is_for_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch):
    class Card:
        major = 7

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: Card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla V100")
    check_precision("fp32", "cuda", KEY)
    message = user_error(check_precision, "bf16", "cuda", KEY)
    assert "the GPU (Tesla V100) has no bfloat16 arithmetic" in message and "fp32" in message
    Card.major = 8
    check_precision("bf16", "cuda", KEY)


def test_a_full_gpu_is_one_line_with_advice():
    with pytest.raises(UserError) as caught, enough_memory("train: fold 0", "lower batch_size"):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
    assert str(caught.value) == (
        "train: fold 0: the GPU has no memory left; lower batch_size, free it of other work, or "
        "set CUDA_VISIBLE_DEVICES= (empty) to run on the CPU"
    )


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), enough_memory("train", "wait"):
        raise ZeroDivisionError
