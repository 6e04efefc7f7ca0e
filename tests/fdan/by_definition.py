"""FDAN written out in NumPy, float64, from Eq. (1) to (4), and how tests compare with it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Weights = dict[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


def with_random_parameters(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 in which no parameter has a special value, those of LN included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def random_features(n: int, dim: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weights_of(module: nn.Module) -> Weights:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def assert_equal(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(z: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Every row to mean 0 and variance 1 over its entries, then scaled and shifted."""
    centred = z - z.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * weight + bias


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def delta(receiving: np.ndarray, giving: np.ndarray, w: Weights) -> np.ndarray:
    """softmax(Q^T K / sqrt(d)) V^T of Eq. (3), with the paper's columns: Q = W^Q Z^T."""
    q = w["query.weight"] @ receiving.T
    k = w["key.weight"] @ giving.T
    v = w["value.weight"] @ giving.T
    return softmax(q.T @ k / math.sqrt(len(q))) @ v.T


def update(z: np.ndarray, dz: np.ndarray | float, w: Weights) -> np.ndarray:
    """Both steps of Eq. (4) for one modality."""
    z = layer_norm(z + dz, w["norm_attended.weight"], w["norm_attended.bias"])
    forward = linear(np.maximum(linear(z, w, "ffn.0"), 0), w, "ffn.2")
    return layer_norm(z + forward, w["norm_out.weight"], w["norm_out.bias"])


def layer(receiving: np.ndarray, giving: np.ndarray | None, w: Weights) -> np.ndarray:
    """One direction of one layer; Delta Z = 0 without a giver or without W^Q, W^K and W^V."""
    skips = giving is None or "query.weight" not in w
    return update(receiving, 0.0 if skips else delta(receiving, giving, w), w)


def one_layer(w: Weights, modality: str, number: int) -> Weights:
    """The weights of one direction of layer `number` (from 0) of a network."""
    prefix = f"{modality}_layers.{number}."
    return {name.removeprefix(prefix): v for name, v in w.items() if name.startswith(prefix)}


def joint_states(w: Weights, x_v: np.ndarray, x_a: np.ndarray, layers: int) -> list[Pair]:
    """(Z_v^i, Z_a^i) for i = 0 .. l: both directions from what the other was before the layer."""
    states = [(linear(x_v, w, "project_visual"), linear(x_a, w, "project_acoustic"))]
    for number in range(layers):
        z_v, z_a = states[-1]
        states.append(
            (
                layer(z_v, z_a, one_layer(w, "visual", number)),
                layer(z_a, z_v, one_layer(w, "acoustic", number)),
            )
        )
    return states


def one_sided(
    w: Weights,
    modality: str,
    x: np.ndarray,
    layers: int,
    others: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Z^l of one modality that attends to given states of the other, or to nothing."""
    z = linear(x, w, f"project_{modality}")
    for number in range(layers):
        z = layer(z, others[number] if others else None, one_layer(w, modality, number))
    return z


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p(true class)."""
    log_sums = [math.log(sum(math.exp(v - max(row)) for v in row)) + max(row) for row in logits]
    return float(np.mean([s - row[y] for s, row, y in zip(log_sums, logits, labels)]))


def unweighted_recall(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean, over the classes that occur, of the share of their samples that is found."""
    hits = logits.argmax(1) == labels
    return float(np.mean([hits[labels == c].mean() for c in sorted(set(labels.tolist()))]))
