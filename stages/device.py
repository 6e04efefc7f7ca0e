"""Where networks run: on a GPU where there is one, with deterministic algorithms everywhere."""

import os

import torch


def pick_device() -> str:
    """Return "cuda" or "cpu", and `require_determinism`."""
    require_determinism()
    return "cuda" if torch.cuda.is_available() else "cpu"


def require_determinism() -> None:
    """From now on an operation of PyTorch that is not deterministic is an error."""
    # cuBLAS is deterministic only with this, set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
