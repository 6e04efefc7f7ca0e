"""Local maximum mean discrepancy (LMMD) between faces and voices of the same emotion.

Paper: Section 2.3, Eq. (5) to (8). Kernel and bandwidth follow the paper's reference [34], Zhu et
al., "Deep subdomain adaptation network for image classification" (DSAN).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def class_weights(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """w_jnc of Eq. (7): each column sums to 1 over its class; 0 where a class is absent.

    Args:
        labels: true labels, integers [n].

    Returns:
        Weights [n, C].
    """
    y = one_hot(labels, classes).to(dtype)
    return y / y.sum(0).clamp(min=1)


def gaussian_kernel(z: Tensor, kernels: int, ratio: float) -> Tensor:
    """Sum of Gaussian kernels between all rows of z, as DSAN does.

    k(x, y) = sum_i exp(-|x - y|^2 / b_i), b_i = b ratio^(i - kernels // 2), where b is the mean of
    |x - y|^2 over the pairs x != y of the batch, held constant in the gradient.

    Args:
        z: features [n, d].

    Returns:
        Kernel matrix [n, n]; its entries lie in (0, kernels].
    """
    z = z - z.mean(0).detach()  # distances do not change, and their rounding error shrinks
    norms = z.square().sum(1)
    distances = (norms[:, None] + norms[None, :] - 2 * z @ z.T).clamp(min=0)
    distances = distances - torch.diag(distances.diagonal())
    n = len(z)
    bandwidth = distances.detach().sum() / max(1, n * n - n)
    bandwidth = bandwidth.clamp(min=torch.finfo(z.dtype).tiny ** 0.5)  # identical points
    scales = [ratio ** (i - kernels // 2) for i in range(kernels)]
    return sum(torch.exp(-distances / (bandwidth * scale)) for scale in scales)


def lmmd(
    z_v: Tensor,
    y_v: Tensor,
    z_a: Tensor,
    y_a: Tensor,
    classes: int,
    kernels: int = 5,
    ratio: float = 2.0,
) -> Tensor:
    """d(p_v, p_a) of Eq. (8): mean over the C classes of the squared distance of class means.

    With K the kernel matrix of [z_v; z_a] and w_c = [w_vc; -w_ac], the bracket of Eq. (8) is
    w_c^T K w_c. A class without a sample on either side says nothing about the discrepancy and
    counts as 0; the sum is divided by C all the same, as the paper writes.

    Args:
        z_v, z_a: features of faces [n_v, d] and of voices [n_a, d].
        y_v, y_a: their true labels [n_v] and [n_a].

    Returns:
        A scalar >= 0, at most 2 x kernels.
    """
    w_v = class_weights(y_v, classes, z_v.dtype)
    w_a = class_weights(y_a, classes, z_a.dtype)
    on_both_sides = (w_v.sum(0) > 0) & (w_a.sum(0) > 0)
    w = torch.cat([w_v, -w_a]) * on_both_sides
    kernel = gaussian_kernel(torch.cat([z_v, z_a]), kernels, ratio)
    return (w * (kernel @ w)).sum().clamp(min=0) / classes
