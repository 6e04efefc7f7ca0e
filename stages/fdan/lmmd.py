"""Local maximum mean discrepancy (LMMD) between the modalities, emotion by emotion.

Paper: Section 2.3, Eq. (5) to (8). Kernel and bandwidth follow the paper's reference [34], Zhu et
al., "Deep subdomain adaptation network for image classification" (DSAN).
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor

Bandwidth = Literal["mean", "median"] | float


def class_weights(y: Tensor) -> Tensor:
    """w_jnc of Eq. (7): each column sums to 1 over its class; 0 where a class is absent.

    Args:
        y: true labels as one-hot rows [n, C], of floating point.

    Returns:
        Weights [n, C].
    """
    return y / y.sum(0).clamp(min=1)


def bandwidth_of(distances: Tensor, rule: Bandwidth) -> Tensor | float:
    """The b of `gaussian_kernel`, from the squared distances [n, n] of the batch."""
    smallest = torch.finfo(distances.dtype).tiny ** 0.5  # divides to a finite number
    if not isinstance(rule, str):
        return max(rule, smallest)
    n = len(distances)
    if n < 2:
        return 1.0  # no pair, and nothing but k(x, x) = 1 to weigh
    if rule == "mean":
        b = distances.sum() / (n * n - n)
    else:
        row, column = torch.triu_indices(n, n, 1, device=distances.device)
        ordered = distances[row, column].sort().values  # `median` is not deterministic on a GPU
        b = ordered[(len(ordered) - 1) // 2]
    return b.clamp(min=smallest)  # identical points


def gaussian_kernel(z: Tensor, kernels: int, ratio: float, bandwidth: Bandwidth) -> Tensor:
    """Sum of Gaussian kernels between all rows of z, as DSAN does.

    k(x, y) = sum_i exp(-|x - y|^2 / b_i), b_i = b ratio^(i - kernels // 2), where b is the mean
    (or lower median) of |x - y|^2 over the pairs x != y of the batch, held constant in the
    gradient, or a number given.

    Args:
        z: features [n, d].

    Returns:
        Kernel matrix [n, n]; its entries lie in [0, kernels].
    """
    z = z - z.mean(0).detach()  # distances do not change, and their rounding error shrinks
    products = z @ z.T
    norms = products.diagonal()  # of the same rounding, so that k(x, x) is exactly 1
    distances = (norms[:, None] + norms).sub(products, alpha=2).clamp(min=0)
    b = bandwidth_of(distances.detach(), bandwidth)
    return torch.exp(distances / (b * _scales(kernels, ratio, z.dtype, z.device))).sum(0)


@cache
def _scales(kernels: int, ratio: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """-ratio^(i - kernels // 2) for every kernel i, [kernels, 1, 1]."""
    powers = [-(ratio ** (i - kernels // 2)) for i in range(kernels)]
    return torch.tensor(powers, dtype=dtype, device=device)[:, None, None]


def lmmd(
    z_v: Tensor,
    y_v: Tensor,
    z_a: Tensor,
    y_a: Tensor,
    *,
    kernels: int = 5,
    ratio: float = 2.0,
    bandwidth: Bandwidth = "mean",
    classes: Literal["all", "common"] | int = "all",
) -> Tensor:
    """d(p_v, p_a) of Eq. (8): mean over the classes of the squared distance of class means.

    With K the kernel matrix of [z_v; z_a] and w_c = [w_vc; -w_ac], the bracket of Eq. (8) is
    w_c^T K w_c, and their sum that of all entries of K times those of W = sum_c w_c w_c^T. A class
    without a sample on either side says nothing about the discrepancy and counts as 0.

    Args:
        z_v, z_a: visual features [n_v, d] and acoustic features [n_a, d].
        y_v, y_a: their true labels as one-hot rows [n_v, C] and [n_a, C].
        kernels, ratio, bandwidth: see `gaussian_kernel`; the defaults are DSAN's (five kernels
            a factor of 2 apart around the mean squared distance).
        classes: what the sum is divided by: "all" is C, as the paper writes, "common" the number
            of classes on both sides, as DSAN's code does. A number stands for "all" where a task
            has fewer classes than labels have columns.

    Returns:
        A scalar >= 0, at most 2 x kernels.
    """
    w_v, w_a = class_weights(y_v), class_weights(y_a)
    shared = w_v.any(0) & w_a.any(0)
    w = torch.cat([w_v, -w_a]) * shared
    kernel = gaussian_kernel(torch.cat([z_v, z_a]), kernels, ratio, bandwidth)
    divisor: Tensor | int
    if classes == "common":
        divisor = shared.sum().clamp(min=1)
    else:
        divisor = y_v.shape[1] if classes == "all" else classes
    return (w @ w.T * kernel).sum().clamp(min=0) / divisor
