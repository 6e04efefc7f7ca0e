"""LMMD against Eq. (7) and (8) written out as loops, and what must hold for any batch."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from stages.fdan.lmmd import class_weights, gaussian_kernel
from stages.fdan.lmmd import lmmd as lmmd_of_one_hot

CLASSES = 4
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Options = dict[str, Any]

DSAN: Options = {"kernels": 5, "ratio": 2.0, "bandwidth": "mean", "classes": "all"}
# Every bandwidth rule with every divisor, over three families of kernels.
ALL_OPTIONS: list[Options] = [
    {"kernels": kernels, "ratio": ratio, "bandwidth": bandwidth, "classes": classes}
    for kernels, ratio in [(5, 2.0), (1, 2.0), (4, 3.5)]
    for bandwidth in ["mean", "median", 3.7]
    for classes in ["all", "common"]
]
DSAN_KERNELS = ALL_OPTIONS[:6]


def lmmd(
    z_v: Tensor, y_v: Tensor, z_a: Tensor, y_a: Tensor, n_classes: int, **options: Any
) -> Tensor:
    """As stages.fdan.lmmd has it, of labels as integers."""
    rows_v, rows_a = (one_hot(y, n_classes).to(z_v.dtype) for y in (y_v, y_a))
    return lmmd_of_one_hot(z_v, rows_v, z_a, rows_a, **options)


def options_id(options: Options) -> str:
    return "-".join(map(str, options.values()))


def bandwidth_by_definition(z: np.ndarray, rule: str | float) -> float:
    """The mean of |x - y|^2 over the pairs of different rows, or the lower of its two medians."""
    if not isinstance(rule, str):
        return rule
    squares = sorted(float(np.sum((x - y) ** 2)) for x, y in itertools.combinations(z, 2))
    return sum(squares) / len(squares) if rule == "mean" else squares[(len(squares) - 1) // 2]


def lmmd_by_definition(batch: Batch, n_classes: int, options: Options) -> tuple[float, ...]:
    """Eq. (8) term by term, with the weights of Eq. (7), in float64.

    Returns:
        The value, and its gradients by z_v and by z_a for a constant bandwidth.
    """
    z_v, y_v, z_a, y_a = (t.detach().numpy() for t in batch)
    z_v, z_a = z_v.astype(np.float64), z_a.astype(np.float64)
    b = bandwidth_by_definition(np.concatenate([z_v, z_a]), options["bandwidth"])
    scales = [
        b * options["ratio"] ** (i - options["kernels"] // 2) for i in range(options["kernels"])
    ]
    total, gradients = 0.0, {"v": np.zeros_like(z_v), "a": np.zeros_like(z_a)}
    sides = {"v": (z_v, y_v), "a": (z_a, y_a)}
    common = 0
    for c in range(n_classes):
        size = {side: int(np.sum(y == c)) for side, (_, y) in sides.items()}
        if size["v"] == 0 or size["a"] == 0:
            continue
        common += 1
        for sign, left, right in [(1, "v", "v"), (1, "a", "a"), (-2, "v", "a")]:
            weight = sign / (size[left] * size[right])
            for m in np.flatnonzero(sides[left][1] == c):
                for n in np.flatnonzero(sides[right][1] == c):
                    gap = sides[left][0][m] - sides[right][0][n]
                    kernels = [math.exp(-float(gap @ gap) / scale) for scale in scales]
                    slope = sum(-2 / scale * k for scale, k in zip(scales, kernels)) * gap
                    total += weight * sum(kernels)
                    gradients[left][m] += weight * slope
                    gradients[right][n] -= weight * slope
    divisor = n_classes if options["classes"] == "all" else max(1, common)
    return total / divisor, gradients["v"] / divisor, gradients["a"] / divisor


def random_batch(
    seed: int,
    n_v: int = 9,
    n_a: int = 6,
    dim: int = 5,
    classes: int = CLASSES,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Faces and voices around different centres, with random labels."""
    rng = np.random.default_rng(seed)
    z_v = torch.tensor(scale * rng.normal(0.5, 1, (n_v, dim)), dtype=dtype)
    z_a = torch.tensor(scale * rng.normal(-0.5, 1.5, (n_a, dim)), dtype=dtype)
    y_v, y_a = (torch.from_numpy(rng.integers(0, classes, n)) for n in (n_v, n_a))
    return z_v, y_v, z_a, y_a


def in_float32(batch: Batch) -> Batch:
    return tuple(t.float() if t.is_floating_point() else t for t in batch)


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


any_options = st.fixed_dictionaries(
    {
        "kernels": st.integers(1, 6),
        "ratio": st.floats(1.1, 5),
        "bandwidth": st.sampled_from(["mean", "median"]) | st.floats(1e-3, 1e3),
        "classes": st.sampled_from(["all", "common"]),
    }
)


def value_and_gradients(batch: Batch, n_classes: int = CLASSES, **options: Any) -> list[Tensor]:
    z_v, y_v, z_a, y_a = batch
    z_v, z_a = z_v.clone().requires_grad_(), z_a.clone().requires_grad_()
    value = lmmd(z_v, y_v, z_a, y_a, n_classes, **options)
    return [value.detach(), *torch.autograd.grad(value, [z_v, z_a])]


def assert_all_finite(batch: Batch, **options: Any) -> None:
    assert all(torch.isfinite(t).all() for t in value_and_gradients(batch, **options))


def assert_as_by_definition(batch: Batch, n_classes: int, options: Options) -> None:
    """Value and gradients to 1e-10."""
    found = value_and_gradients(batch, n_classes, **options)
    for ours, theirs in zip(found, lmmd_by_definition(batch, n_classes, options), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=options_id)
@pytest.mark.parametrize("n_v, n_a", [(9, 6), (4, 11), (1, 5), (1, 1), (16, 16)])
def test_value_and_gradients_equal_the_loops_of_equation_8(n_v: int, n_a: int, options: Options):
    assert_as_by_definition(random_batch(n_v, n_v, n_a), CLASSES, options)


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=options_id)
def test_equals_the_loops_where_classes_are_absent_on_one_side_or_on_both(options: Options):
    z_v, _, z_a, _ = random_batch(3, 5, 4)
    batch = (z_v, torch.tensor([0, 0, 1, 1, 5]), z_a, torch.tensor([1, 1, 2, 5]))
    assert lmmd_by_definition(batch, 7, options)[0] > 0.01
    assert_as_by_definition(batch, 7, options)


def test_equals_the_loops_for_a_whole_batch_of_the_paper():
    assert_as_by_definition(random_batch(0, 32, 32, dim=16, classes=7), 7, DSAN)


@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_float32_agrees_with_the_float64_loops_to_five_digits(shift: float, options: Options):
    z_v, y_v, z_a, y_a = random_batch(1, 16, 12, dim=5 if shift else 64)
    batch = in_float32((z_v + shift, y_v, z_a + shift, y_a))
    if options["bandwidth"] == 3.7 and not shift:
        options = options | {"bandwidth": 150.0}  # as wide as the features lie apart
    found = value_and_gradients(batch, **options)
    for ours, theirs in zip(found, lmmd_by_definition(batch, CLASSES, options), strict=True):
        assert np.linalg.norm(ours.numpy() - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_the_defaults_are_those_of_dsan():
    batch = random_batch(0)
    assert torch.equal(lmmd(*batch, CLASSES), lmmd(*batch, CLASSES, **DSAN))


def test_class_weights_sum_to_one_over_each_class_that_is_present():
    weights = class_weights(one_hot(torch.tensor([0, 2, 2, 2]), 4).double())
    assert weights.sum(0).tolist() == pytest.approx([1, 0, 1, 0])
    assert weights[:, 2].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


@given(any_batch(), any_options)
def test_the_two_divisors_differ_by_the_share_of_the_shared_classes(batch: Batch, options: Options):
    in_all, in_common = (
        float(lmmd(*batch, CLASSES, **options | {"classes": classes}))
        for classes in ("all", "common")
    )
    shared = len(set(batch[1].tolist()) & set(batch[3].tolist()))
    assert in_all * CLASSES == pytest.approx(in_common * shared, abs=1e-12)


@given(any_batch(), any_options, st.integers(2, 7))
def test_a_task_of_fewer_classes_divides_by_their_number(
    batch: Batch, options: Options, number: int
):
    in_all, of_task = (
        float(lmmd(*batch, CLASSES, **options | {"classes": given})) for given in ("all", number)
    )
    assert of_task * number == pytest.approx(in_all * CLASSES, abs=1e-12)


@given(any_batch(), any_options, st.integers(0, 2**32))
@settings(max_examples=30)
def test_samples_of_a_class_that_is_not_shared_act_through_the_bandwidth_alone(
    batch: Batch, options: Options, seed: int
):
    z_v, y_v, z_a, y_a = batch
    lonely = ~torch.isin(y_v, y_a)
    moved = z_v + lonely[:, None] * torch.from_numpy(
        np.random.default_rng(seed).normal(size=z_v.shape)
    )
    options = options | {"bandwidth": 3.7}
    expected = float(lmmd(z_v, y_v, z_a, y_a, CLASSES, **options))
    found = float(lmmd(moved, y_v, z_a, y_a, CLASSES, **options))
    assert found == pytest.approx(expected, abs=1e-9)


@given(any_batch(), any_options)
def test_kernel_is_symmetric_with_the_number_of_kernels_on_its_diagonal(
    batch: Batch, options: Options
):
    kernel = gaussian_kernel(
        torch.cat([batch[0], batch[2]]), options["kernels"], options["ratio"], options["bandwidth"]
    )
    torch.testing.assert_close(kernel, kernel.T)
    assert kernel.diagonal().tolist() == [options["kernels"]] * len(kernel)


@pytest.mark.parametrize("bandwidth", ["mean", "median", 3.7])
def test_the_kernel_of_a_single_point_is_the_number_of_kernels(bandwidth: str | float):
    assert gaussian_kernel(torch.ones(1, 3), 5, 2.0, bandwidth).tolist() == [[5]]


@given(any_batch(), any_options)
def test_is_never_negative_and_at_most_twice_the_kernels(batch: Batch, options: Options):
    assert 0 <= float(lmmd(*batch, CLASSES, **options)) <= 2 * options["kernels"]


def test_reaches_almost_twice_the_kernels_where_each_modality_is_one_far_point():
    faces, voice = torch.zeros(400, 1).double(), torch.ones(1, 1).double()
    y_v, y_a = torch.zeros(400, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    assert float(lmmd(faces, y_v, voice, y_a, 1, kernels=5)) > 1.9 * 5


@given(any_batch(), any_options)
def test_is_symmetric_in_the_modalities(batch: Batch, options: Options):
    z_v, y_v, z_a, y_a = batch
    swapped = float(lmmd(z_a, y_a, z_v, y_v, CLASSES, **options))
    assert float(lmmd(*batch, CLASSES, **options)) == pytest.approx(swapped, abs=1e-9)


@given(any_batch(), any_options, st.integers(0, 2**32))
def test_does_not_depend_on_the_order_of_the_samples(batch: Batch, options: Options, seed: int):
    z_v, y_v, z_a, y_a = batch
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.randperm(len(y), generator=generator) for y in (y_v, y_a))
    shuffled = float(lmmd(z_v[p], y_v[p], z_a[q], y_a[q], CLASSES, **options))
    assert float(lmmd(*batch, CLASSES, **options)) == pytest.approx(shuffled, abs=1e-9)


@given(any_batch(), any_options)
def test_is_zero_for_identical_sets(batch: Batch, options: Options):
    z, y, _, _ = batch
    value = float(lmmd(z, y, z.clone(), y, CLASSES, **options))
    assert 0 <= value == pytest.approx(0, abs=1e-9)


@given(any_batch(), any_options, st.sampled_from(["mean", "median"]))
@settings(max_examples=30)
def test_does_not_change_when_all_features_are_shifted_or_scaled(
    batch: Batch, options: Options, rule: str
):
    z_v, y_v, z_a, y_a = batch
    options = options | {"bandwidth": rule}
    moved = float(lmmd(3 * z_v + 7, y_v, 3 * z_a + 7, y_a, CLASSES, **options))
    assert float(lmmd(*batch, CLASSES, **options)) == pytest.approx(moved, abs=1e-6)


@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
def test_grows_as_the_modalities_of_a_class_part(options: Options):
    z, y, _, _ = random_batch(1, 20, classes=1)
    apart = [float(lmmd(z, y, z + gap, y, 1, **options)) for gap in (0, 0.5, 1, 2)]
    assert apart == sorted(apart) and apart[0] < 1e-12 < apart[1]


@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
def test_is_zero_with_zero_gradient_when_no_class_is_on_both_sides(options: Options):
    z_v, _, z_a, _ = random_batch(0, 3, 2)
    batch = (z_v, torch.zeros(3).long(), z_a, torch.ones(2).long())
    value, *gradients = value_and_gradients(batch, **options)
    assert value.item() == 0
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 1.0, -0.3, 1e18, 1e-30])
@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
def test_value_and_gradient_are_finite_for_identical_points(
    level: float, dtype: torch.dtype, options: Options
):
    z_v, z_a = torch.full((4, 8), level, dtype=dtype), torch.full((3, 8), level, dtype=dtype)
    assert_all_finite((z_v, torch.tensor([0, 0, 1, 1]), z_a, torch.tensor([0, 1, 1])), **options)


def test_value_and_gradient_are_finite_where_most_points_are_identical():
    z_v, y_v, z_a, y_a = random_batch(0, dtype=torch.float32)
    z_v[1:], z_a[1:] = z_v[0], z_v[0]
    assert_all_finite((z_v, y_v, z_a, y_a), bandwidth="median")


@pytest.mark.parametrize("y_a", [0, 1])
@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
def test_value_and_gradient_are_finite_for_one_sample_of_each_modality(y_a: int, options: Options):
    z_v, _, z_a, _ = random_batch(0, 1, 1, dtype=torch.float32)
    assert_all_finite((z_v, torch.tensor([0]), z_a, torch.tensor([y_a])), **options)


@pytest.mark.parametrize("scale", [1e18, 1e12, 1e-12, 1e-18, 1e-30, 1e-44])
@pytest.mark.parametrize("options", DSAN_KERNELS, ids=options_id)
def test_value_and_gradient_are_finite_for_huge_and_tiny_features(scale: float, options: Options):
    assert_all_finite(random_batch(0, dim=8, scale=scale, dtype=torch.float32), **options)


@given(any_batch(), any_options)
def test_value_and_gradient_are_finite_for_any_batch(batch: Batch, options: Options):
    assert_all_finite(in_float32(batch), **options)


@pytest.mark.parametrize("kernels, ratio", [(16, 2.0), (1, 10.0), (16, 10.0)])
@pytest.mark.parametrize("bandwidth", ["mean", "median", 1e-20, 1e20, 1e300])
def test_value_and_gradient_are_finite_for_every_kernel_that_the_params_allow(
    kernels: int, ratio: float, bandwidth: str | float
):
    batch = random_batch(0, dtype=torch.float32)
    assert_all_finite(batch, kernels=kernels, ratio=ratio, bandwidth=bandwidth)


@pytest.mark.parametrize("bandwidth", [1e-300, 1e-40])
def test_value_and_gradient_are_finite_for_the_smallest_bandwidth_that_the_params_allow(
    bandwidth: float,
):
    batch = random_batch(0, dtype=torch.float32)
    assert_all_finite(batch, kernels=16, ratio=10.0, bandwidth=bandwidth)
