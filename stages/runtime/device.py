"""Where networks run: on a GPU where there is one, with deterministic algorithms everywhere."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError, one_line

DRIVER = Path("/proc/driver/nvidia/version")
WORKSPACES = (":4096:8", ":16:8")  # with which cuBLAS is deterministic, as NVIDIA says
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # CPU instructions, of x86 and of ARM


def pick_device() -> str:
    """Return "cuda" where PyTorch can use a GPU, else "cpu", and `require_determinism`.

    A GPU that is there and cannot be used is reported in one line.

    Raises:
        UserError: as `require_determinism`.
    """
    require_determinism()
    problem = _problem_of_gpu()
    if problem is None:
        return "cuda"
    if problem:
        print(f"warning: the GPU cannot be used ({problem}); the CPU is", file=sys.stderr)
    return "cpu"


def _problem_of_gpu() -> str | None:
    """Why no GPU can be used; "" where there is none, None where one can."""
    import torch  # in functions, as it takes seconds and frames needs it for some detectors only

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if not there:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
        if hidden or not DRIVER.exists():
            return ""
        reasons = [one_line(w.message) for w in said if isinstance(w.message, Warning)]
        return reasons[0][:300] if reasons else "this PyTorch does not work with its driver"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cards that the wheel has no kernels for
            torch.ones(1, device="cuda").add(1).item()
    except torch.OutOfMemoryError:
        return None  # who needs memory says how much
    except RuntimeError as error:
        return one_line(error)[:300]
    return None


def require_determinism() -> None:
    """From now on an operation of PyTorch that is not deterministic is an error.

    float32 means float32: without TensorFloat-32, which PyTorch uses for convolutions by default.

    Raises:
        UserError: CUBLAS_WORKSPACE_CONFIG is set to what is not deterministic.
    """
    import torch
    import torch.utils.deterministic

    # Must be set before cuBLAS is first used.
    chosen = os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACES[0])
    if chosen not in WORKSPACES:
        raise UserError(
            f"CUBLAS_WORKSPACE_CONFIG: {chosen!r} does not give the same results every time; "
            f"unset it, or set {' or '.join(WORKSPACES)}"
        )
    # As `use_deterministic_algorithms(True)`, which loads all of PyTorch's compiler to tell it so.
    torch.set_deterministic_debug_mode("error")
    # It would also fill all new memory, a fifth of the kernels of a training step.
    deterministic: Any = torch.utils.deterministic  # a module with properties, unknown to mypy
    deterministic.fill_uninitialized_memory = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def name_of(device: str) -> str:
    """The kind of hardware that the last bits of a result may depend on.

    Args:
        device: "cpu" or "cuda", as `pick_device` returns it.
    """
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return torch.backends.cpu.get_cpu_capability()  # as AVX2: which kernels a CPU gets


def check_precision(precision: str, device: str, key: str) -> None:
    """Refuse bfloat16 where the hardware only emulates it, many times slower than float32.

    Known at once, without running a network; imports PyTorch for bf16 only.

    Args:
        precision: "fp32" or "bf16".
        device: "cpu" or "cuda", as `pick_device` returns it.
        key: of the setting, for the message.

    Raises:
        UserError: `precision` is "bf16", and the device has no instructions for it.
    """
    if precision != "bf16":
        return
    import torch

    if device == "cuda":
        there = torch.cuda.is_bf16_supported(including_emulation=False)
        lacking = f"the GPU ({torch.cuda.get_device_name()}) has no bfloat16 arithmetic"
    else:
        found = torch.cpu.get_capabilities()
        there = any(found.get(name) for name in BFLOAT16)
        named = f"the CPU ({found['cpu_name']})" if found.get("cpu_name") else "the CPU"
        lacking = f"{named} has no bfloat16 arithmetic (avx512_bf16 or amx_bf16)"
    if not there:
        raise UserError(
            f"params.yaml: {key}: {lacking}, and would be far slower than with fp32; set fp32"
        )


@contextlib.contextmanager
def enough_memory(task: str, advice: str) -> Iterator[None]:
    """Tell a full GPU in one line.

    Args:
        task: what runs there, at the head of the message.
        advice: what needs less memory.

    Raises:
        UserError: the GPU has no memory left for the block.
    """
    try:
        yield
    except RuntimeError as error:
        import torch

        if not isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(
            f"{task}: the GPU has no memory left; {advice}, free it of other work, or set "
            "CUDA_VISIBLE_DEVICES= (empty) to run on the CPU"
        ) from error
