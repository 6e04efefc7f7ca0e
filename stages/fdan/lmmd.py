"""Local maximum mean discrepancy (LMMD) between the modalities, emotion by emotion.

Paper: Section 2.3, Eq. (5) to (8). Kernel and bandwidth follow the paper's reference [34], Zhu et
al., "Deep subdomain adaptation network for image classification" (DSAN).
"""

from typing import Literal

import torch
from torch import Tensor

Bandwidth = Literal["mean", "median"] | float


def members(labels: Tensor, n_classes: int) -> Tensor:
    """Which samples [..., n] are of which class, bool [..., n, C].

    As torch's `one_hot`, which reads its labels on the host and so cannot be stacked.
    """
    return labels[..., None] == torch.arange(n_classes, device=labels.device)


def class_weights(labels: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """w_jnc of Eq. (7): each column sums to 1 over its class; 0 where a class is absent.

    Args:
        labels: true labels, integers [n].

    Returns:
        Weights [n, C].
    """
    y = members(labels, n_classes).to(dtype)
    return y / y.sum(0).clamp(min=1)


def shared_classes(y_v: Tensor, y_a: Tensor, n_classes: int) -> Tensor:
    """Which classes have a sample on both sides, bool [..., C]: only those can be compared.

    Args:
        y_v, y_a: true labels [..., n_v] and [..., n_a], for example of many batches.
    """
    return members(y_v, n_classes).any(-2) & members(y_a, n_classes).any(-2)


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
    exponents = torch.arange(kernels, dtype=z.dtype, device=z.device) - kernels // 2
    return torch.exp(distances / (-b * ratio**exponents)[:, None, None]).sum(0)


def lmmd(
    z_v: Tensor,
    y_v: Tensor,
    z_a: Tensor,
    y_a: Tensor,
    n_classes: int,
    *,
    kernels: int = 5,
    ratio: float = 2.0,
    bandwidth: Bandwidth = "mean",
    classes: Literal["all", "common"] = "all",
) -> Tensor:
    """d(p_v, p_a) of Eq. (8): mean over the classes of the squared distance of class means.

    With K the kernel matrix of [z_v; z_a] and w_c = [w_vc; -w_ac], the bracket of Eq. (8) is
    w_c^T K w_c, and their sum that of all entries of K times those of W = sum_c w_c w_c^T. A class
    without a sample on either side says nothing about the discrepancy and counts as 0 (see
    `shared_classes`).

    Args:
        z_v, z_a: visual features [n_v, d] and acoustic features [n_a, d].
        y_v, y_a: their true labels [n_v] and [n_a].
        kernels, ratio, bandwidth: see `gaussian_kernel`; the defaults are DSAN's (five kernels
            a factor of 2 apart around the mean squared distance).
        classes: what the sum is divided by: "all" is C, as the paper writes, "common" the number
            of classes on both sides, as DSAN's code does.

    Returns:
        A scalar >= 0, at most 2 x kernels.
    """
    w_v = class_weights(y_v, n_classes, z_v.dtype)
    w_a = class_weights(y_a, n_classes, z_a.dtype)
    shared = w_v.any(0) & w_a.any(0)  # as `shared_classes`
    w = torch.cat([w_v, -w_a]) * shared
    kernel = gaussian_kernel(torch.cat([z_v, z_a]), kernels, ratio, bandwidth)
    divisor = n_classes if classes == "all" else shared.sum().clamp(min=1)
    return (w @ w.T * kernel).sum().clamp(min=0) / divisor
