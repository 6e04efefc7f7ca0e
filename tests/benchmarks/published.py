"""What training costs in the way of the published code, as a base for comparison.

A DataLoader for each modality, one-hot labels written by a Python double loop, weights of LMMD
class by class in NumPy, all differences of the batch's features in memory at once, and SGD with
its default options. Written for the benchmark, after the description of that code; the network is
ours. Its LMMD has the value of Eq. (8) with `classes: common`.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from stages.fdan.network import FDAN
from stages.fdan.training import Settings
from stages.systems.contract import Samples


def one_hot_by_loops(labels: Tensor, classes: int) -> Tensor:
    """[n, C], every entry set by itself."""
    table = torch.zeros(len(labels), classes)
    for row in range(len(labels)):
        for column in range(classes):
            table[row, column] = 1.0 if int(labels[row]) == column else 0.0
    return table


def weights_class_by_class(one_hot_v: Tensor, one_hot_a: Tensor) -> list[Tensor]:
    """Weights [n, n] of the pairs of faces, of voices, and of faces with voices."""
    v, a = (part.numpy() / np.maximum(part.numpy().sum(0), 1) for part in (one_hot_v, one_hot_a))
    n = len(v)
    sums = [np.zeros((n, n), np.float32) for _ in range(3)]
    common = 0
    for column in range(v.shape[1]):
        if v[:, column].any() and a[:, column].any():
            of_v, of_a = v[:, column].reshape(n, 1), a[:, column].reshape(n, 1)
            for total, pairs in zip(sums, (of_v @ of_v.T, of_a @ of_a.T, of_v @ of_a.T)):
                total += pairs
            common += 1
    return [torch.from_numpy(total / max(1, common)) for total in sums]


def kernels_of_all_differences(z: Tensor, kernels: int = 5, ratio: float = 2.0) -> Tensor:
    """Sum of Gaussian kernels [n, n] from differences [n, n, d]."""
    n, d = z.shape
    distances = (z.unsqueeze(0).expand(n, n, d) - z.unsqueeze(1).expand(n, n, d)).pow(2).sum(2)
    bandwidth = distances.detach().sum() / (n * n - n) / ratio ** (kernels // 2)
    return sum(torch.exp(-distances / (bandwidth * ratio**i)) for i in range(kernels))


def lmmd_class_by_class(z_v: Tensor, y_v: Tensor, z_a: Tensor, y_a: Tensor, classes: int) -> Tensor:
    """LMMD of faces [n, d] and as many voices."""
    one_hot = [one_hot_by_loops(y, classes) for y in (y_v, y_a)]
    of_v, of_a, of_both = weights_class_by_class(*one_hot)
    kernel, n = kernels_of_all_differences(torch.cat([z_v, z_a])), len(z_v)
    return torch.sum(of_v * kernel[:n, :n] + of_a * kernel[n:, n:] - 2 * of_both * kernel[:n, n:])


class PublishedTraining:
    """Steps of training in that way; call it for so many."""

    def __init__(self, network: FDAN, visual: Samples, acoustic: Samples, settings: Settings):
        self.network, self.settings = network, settings
        self.loaders = [
            DataLoader(TensorDataset(*part), settings.batch_size, shuffle=True, drop_last=True)
            for part in (visual, acoustic)
        ]
        self.batches = [iter(loader) for loader in self.loaders]
        self.optimiser = torch.optim.SGD(
            network.parameters(),
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
        )

    def __call__(self, steps: int) -> float:
        total = 0.0
        for _ in range(steps):
            (x_v, y_v), (x_a, y_a) = self._next(0), self._next(1)
            outputs = self.network(x_v, x_a)
            loss = cross_entropy(outputs.visual, y_v) + cross_entropy(outputs.acoustic, y_a)
            for z_v, z_a in outputs.layers:
                discrepancy = lmmd_class_by_class(z_v, y_v, z_a, y_a, self.settings.classes)
                loss = loss + self.settings.alpha * discrepancy
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item()
        return total / steps

    def _next(self, modality: int) -> list[Tensor]:
        batch = next(self.batches[modality], None)
        if batch is None:
            self.batches[modality] = iter(self.loaders[modality])
            batch = next(self.batches[modality])
        return batch
