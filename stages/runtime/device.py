"""Where networks run: on a GPU where there is one, with deterministic algorithms everywhere."""

import contextlib
import os
from collections.abc import Iterator

from stages.runtime.errors import UserError


def pick_device() -> str:
    """Return "cuda" or "cpu", and `require_determinism`."""
    import torch

    require_determinism()
    return "cuda" if torch.cuda.is_available() else "cpu"


def require_determinism() -> None:
    """From now on an operation of PyTorch that is not deterministic is an error."""
    import torch  # in functions, as it takes seconds and frames needs it for some detectors only

    # cuBLAS is deterministic only with this, set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As `use_deterministic_algorithms(True)`, which loads all of PyTorch's compiler to tell it so.
    torch.set_deterministic_debug_mode("error")


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
