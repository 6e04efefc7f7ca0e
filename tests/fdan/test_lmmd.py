"""LMMD against Eq. (7) and (8) written out as loops, and what must hold for any batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.fdan.lmmd import class_weights, gaussian_kernel, lmmd

CLASSES, KERNELS, RATIO = 4, 5, 2.0
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def bandwidth_by_definition(z: np.ndarray) -> float:
    """Mean |x - y|^2 over the ordered pairs of different rows."""
    n = len(z)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return sum(float(np.sum((z[i] - z[j]) ** 2)) for i, j in pairs) / len(pairs)


def kernel_by_definition(x: np.ndarray, y: np.ndarray, bandwidth: float, kernels: int,
                         ratio: float) -> float:
    """sum_i exp(-|x - y|^2 / b_i) with b_i = b ratio^(i - kernels // 2)."""
    squared = float(np.sum((x - y) ** 2))
    return sum(math.exp(-squared / (bandwidth * ratio ** (i - kernels // 2)))
               for i in range(kernels))


def lmmd_by_definition(z_v: np.ndarray, y_v: np.ndarray, z_a: np.ndarray, y_a: np.ndarray,
                       classes: int, kernels: int, ratio: float) -> float:
    """Eq. (8) term by term, with the weights of Eq. (7), in float64."""
    b = bandwidth_by_definition(np.concatenate([z_v, z_a]))
    total = 0.0
    for c in range(classes):
        n_v, n_a = int(np.sum(y_v == c)), int(np.sum(y_a == c))
        if n_v == 0 or n_a == 0:
            continue
        for sign, (left, y_l, n_l), (right, y_r, n_r) in [
            (1, (z_v, y_v, n_v), (z_v, y_v, n_v)),
            (1, (z_a, y_a, n_a), (z_a, y_a, n_a)),
            (-2, (z_v, y_v, n_v), (z_a, y_a, n_a)),
        ]:
            for m in range(len(left)):
                for n in range(len(right)):
                    weight = (float(y_l[m] == c) / n_l) * (float(y_r[n] == c) / n_r)
                    k = kernel_by_definition(left[m], right[n], b, kernels, ratio)
                    total += sign * weight * k
    return total / classes


def lmmd_by_autograd_loops(batch: Batch, classes: int, kernels: int, ratio: float) -> Tensor:
    """Eq. (8) pair by pair on tensors, the bandwidth held constant in the gradient."""
    z_v, y_v, z_a, y_a = batch
    b = bandwidth_by_definition(torch.cat([z_v, z_a]).detach().numpy())

    def k(x: Tensor, y: Tensor) -> Tensor:
        squared = ((x - y) ** 2).sum()
        return sum(torch.exp(-squared / (b * ratio ** (i - kernels // 2)))
                   for i in range(kernels))

    total = torch.zeros((), dtype=z_v.dtype)
    for c in range(classes):
        of_v = [z for z, y in zip(z_v, y_v) if y == c]
        of_a = [z for z, y in zip(z_a, y_a) if y == c]
        if not of_v or not of_a:
            continue
        total = total + sum(k(x, y) for x in of_v for y in of_v) / len(of_v) ** 2
        total = total + sum(k(x, y) for x in of_a for y in of_a) / len(of_a) ** 2
        total = total - 2 * sum(k(x, y) for x in of_v for y in of_a) / (len(of_v) * len(of_a))
    return total / classes


def random_batch(seed: int, n_v: int = 9, n_a: int = 6, dim: int = 5, classes: int = CLASSES,
                 scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Batch:
    """Faces and voices around different centres, with random labels."""
    rng = np.random.default_rng(seed)
    z_v = torch.tensor(scale * rng.normal(0.5, 1, (n_v, dim)), dtype=dtype)
    z_a = torch.tensor(scale * rng.normal(-0.5, 1.5, (n_a, dim)), dtype=dtype)
    y_v, y_a = (torch.from_numpy(rng.integers(0, classes, n)) for n in (n_v, n_a))
    return z_v, y_v, z_a, y_a


@st.composite
def any_batch(draw: st.DrawFn) -> Batch:
    """Batches of any shape; classes are often absent."""
    return random_batch(
        seed=draw(st.integers(0, 2**32)),
        n_v=draw(st.integers(1, 12)),
        n_a=draw(st.integers(1, 12)),
        dim=draw(st.integers(1, 8)),
        scale=draw(st.sampled_from([1e-3, 1.0, 30.0])),
    )


def value_and_gradients(batch: Batch, classes: int = CLASSES, kernels: int = KERNELS,
                        ratio: float = RATIO) -> tuple[Tensor, Tensor, Tensor]:
    z_v, y_v, z_a, y_a = batch
    z_v, z_a = z_v.clone().requires_grad_(), z_a.clone().requires_grad_()
    value = lmmd(z_v, y_v, z_a, y_a, classes, kernels, ratio)
    return value, *torch.autograd.grad(value, [z_v, z_a])


def assert_all_finite(batch: Batch) -> None:
    assert all(torch.isfinite(tensor).all() for tensor in value_and_gradients(batch))


@pytest.mark.parametrize("kernels, ratio", [(5, 2.0), (1, 2.0), (4, 3.5)])
@pytest.mark.parametrize("n_v, n_a", [(9, 6), (4, 11), (1, 5), (32, 32)])
def test_equals_the_loops_of_equation_8(n_v: int, n_a: int, kernels: int, ratio: float):
    batch = random_batch(n_v, n_v, n_a)
    expected = lmmd_by_definition(*(t.numpy() for t in batch), CLASSES, kernels, ratio)
    assert float(lmmd(*batch, CLASSES, kernels, ratio)) == pytest.approx(expected, abs=1e-12)


def test_equals_the_loops_where_classes_are_absent_on_one_side_or_on_both():
    z_v, _, z_a, _ = random_batch(3, 5, 4)
    y_v, y_a = torch.tensor([0, 0, 1, 1, 5]), torch.tensor([1, 1, 2, 5])
    expected = lmmd_by_definition(z_v.numpy(), y_v.numpy(), z_a.numpy(), y_a.numpy(), 7, 5, 2.0)
    assert expected > 0.01
    assert float(lmmd(z_v, y_v, z_a, y_a, 7)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_float32_agrees_with_the_float64_loops_to_five_digits(seed: int):
    batch = random_batch(seed, 16, 12, dim=256, dtype=torch.float32)
    exact = [t.numpy().astype(np.float64) if t.is_floating_point() else t.numpy() for t in batch]
    expected = lmmd_by_definition(*exact, CLASSES, KERNELS, RATIO)
    assert float(lmmd(*batch, CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_float32_keeps_five_digits_where_all_features_lie_far_from_the_origin():
    z_v, y_v, z_a, y_a = random_batch(0, dtype=torch.float32)
    batch = (z_v + 100, y_v, z_a + 100, y_a)
    exact = [t.numpy().astype(np.float64) if t.is_floating_point() else t.numpy() for t in batch]
    expected = lmmd_by_definition(*exact, CLASSES, KERNELS, RATIO)
    assert float(lmmd(*batch, CLASSES)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_equals_that_of_the_loops(seed: int):
    z_v, y_v, z_a, y_a = random_batch(seed, 7, 5)
    z_v.requires_grad_()
    z_a.requires_grad_()
    loops = lmmd_by_autograd_loops((z_v, y_v, z_a, y_a), CLASSES, KERNELS, RATIO)
    expected = torch.autograd.grad(loops, [z_v, z_a])
    _, *found = value_and_gradients((z_v.detach(), y_v, z_a.detach(), y_a))
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_class_weights_sum_to_one_over_each_class_that_is_present():
    weights = class_weights(torch.tensor([0, 2, 2, 2]), 4, torch.float64)
    assert weights.sum(0).tolist() == pytest.approx([1, 0, 1, 0])
    assert weights[:, 2].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


@given(any_batch())
def test_kernel_is_symmetric_with_the_number_of_kernels_on_its_diagonal(batch: Batch):
    kernel = gaussian_kernel(torch.cat([batch[0], batch[2]]), KERNELS, RATIO)
    torch.testing.assert_close(kernel, kernel.T)
    assert kernel.diagonal().tolist() == [KERNELS] * len(kernel)


@given(any_batch())
def test_is_never_negative_and_at_most_twice_the_kernels(batch: Batch):
    assert 0 <= float(lmmd(*batch, CLASSES, KERNELS)) <= 2 * KERNELS


def test_reaches_almost_twice_the_kernels_where_each_modality_is_one_far_point():
    faces, voice = torch.zeros(400, 1).double(), torch.ones(1, 1).double()
    y_v, y_a = torch.zeros(400, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    assert float(lmmd(faces, y_v, voice, y_a, 1, KERNELS)) > 1.9 * KERNELS


@given(any_batch())
def test_is_symmetric_in_the_modalities(batch: Batch):
    z_v, y_v, z_a, y_a = batch
    swapped = float(lmmd(z_a, y_a, z_v, y_v, CLASSES))
    assert float(lmmd(*batch, CLASSES)) == pytest.approx(swapped, abs=1e-12)


@given(any_batch(), st.integers(0, 2**32))
def test_does_not_depend_on_the_order_of_the_samples(batch: Batch, seed: int):
    z_v, y_v, z_a, y_a = batch
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.randperm(len(y), generator=generator) for y in (y_v, y_a))
    shuffled = float(lmmd(z_v[p], y_v[p], z_a[q], y_a[q], CLASSES))
    assert float(lmmd(*batch, CLASSES)) == pytest.approx(shuffled, abs=1e-12)


@given(any_batch())
def test_is_zero_for_identical_sets(batch: Batch):
    z, y, _, _ = batch
    assert float(lmmd(z, y, z.clone(), y, CLASSES)) == pytest.approx(0, abs=1e-12)


@given(any_batch())
@settings(max_examples=30)
def test_does_not_change_when_all_features_are_shifted_or_scaled(batch: Batch):
    z_v, y_v, z_a, y_a = batch
    moved = float(lmmd(3 * z_v + 7, y_v, 3 * z_a + 7, y_a, CLASSES))
    assert float(lmmd(*batch, CLASSES)) == pytest.approx(moved, abs=1e-7)


def test_grows_as_the_modalities_of_a_class_part():
    z_v, y_v, z_a, y_a = random_batch(1, 20, 20, classes=1)
    apart = [float(lmmd(z_v, y_v, z_v + gap, y_v, 1)) for gap in (0, 0.5, 1, 2)]
    assert apart == sorted(apart) and apart[0] < 1e-12 < apart[1]


def test_is_zero_with_zero_gradient_when_no_class_is_on_both_sides():
    z_v, _, z_a, _ = random_batch(0, 3, 2)
    value, *gradients = value_and_gradients((z_v, torch.zeros(3).long(), z_a, torch.ones(2).long()))
    assert value.item() == 0
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 1.0, -0.3, 1e18, 1e-30])
def test_value_and_gradient_are_finite_for_identical_points(level: float, dtype: torch.dtype):
    z_v, z_a = torch.full((4, 8), level, dtype=dtype), torch.full((3, 8), level, dtype=dtype)
    assert_all_finite((z_v, torch.tensor([0, 0, 1, 1]), z_a, torch.tensor([0, 1, 1])))


@pytest.mark.parametrize("y_a", [0, 1])
def test_value_and_gradient_are_finite_for_one_sample_of_each_modality(y_a: int):
    z_v, _, z_a, _ = random_batch(0, 1, 1, dtype=torch.float32)
    assert_all_finite((z_v, torch.tensor([0]), z_a, torch.tensor([y_a])))


@pytest.mark.parametrize("scale", [1e18, 1e12, 1e-12, 1e-18, 1e-30, 1e-44])
def test_value_and_gradient_are_finite_for_huge_and_tiny_features(scale: float):
    assert_all_finite(random_batch(0, dim=8, scale=scale, dtype=torch.float32))


@given(any_batch())
def test_value_and_gradient_are_finite_for_any_batch(batch: Batch):
    assert_all_finite(tuple(t.float() if t.is_floating_point() else t for t in batch))


@pytest.mark.parametrize("kernels, ratio", [(16, 2.0), (1, 10.0), (16, 10.0)])
def test_value_and_gradient_are_finite_for_every_kernel_that_the_params_allow(
    kernels: int, ratio: float
):
    found = value_and_gradients(random_batch(0, dtype=torch.float32), CLASSES, kernels, ratio)
    assert all(torch.isfinite(tensor).all() for tensor in found)
