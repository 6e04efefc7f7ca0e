"""The encoders of pictures: folded, channels last, and in bf16, against eager PyTorch."""

from collections.abc import Iterator

import torch
from torch.nn.functional import conv2d, cosine_similarity
from torch.utils.flop_counter import FlopCounterMode

from stages.encoders import efficientnet_lite0, torchvision_models
from stages.encoders.pictures import for_inference, normalise
from stages.runtime.device import check_precision
from stages.runtime.errors import UserError
from tests.benchmarks.timing import Row, compare, wall

PICTURES = 16


def gemm_peak(dtype: torch.dtype, repeats: int = 5) -> float:
    """The most floating-point operations a second seen in a product of large matrices.

    Both as a matrix product and as a convolution of 1 x 1, which is one, too: PyTorch has different
    libraries for them, and on some processors that for convolutions is over twice as quick.
    """
    a, b = (torch.randn(2048, 2048, dtype=dtype) for _ in range(2))
    pictures = torch.randn(16, 512, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(512, 512, 1, 1, dtype=dtype).to(memory_format=torch.channels_last)
    products = [
        (2 * 2048**3, lambda: a @ b),
        (2 * 16 * 28 * 28 * 512**2, lambda: conv2d(pictures, kernel)),
    ]
    return max(
        operations / min(wall(product) for _ in range(repeats)) for operations, product in products
    )


def rows(repeats: int) -> Iterator[Row]:
    """fp32 >= 1.15 at a cosine >= 0.999999, bf16 >= 2.0 at >= 0.999; on one core.

    And EfficientNet-Lite0, which costs a tenth of the operations, against ResNet-34.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    resnet = torchvision_models.load("resnet34", "random", 0)
    lite = efficientnet_lite0.load(efficientnet_lite0.NAME, "random", 0)
    eager = resnet.network
    pictures = torch.rand(PICTURES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images = normalise(pictures, resnet.mean, resnet.std)
        with FlopCounterMode(display=False) as counter:
            expected = eager(images)
        for name, dtype, aim in [("fp32", torch.float32, 1.15), ("bf16", torch.bfloat16, 2.0)]:
            what = f"ResNet-34, {PICTURES} pictures, {name}"
            try:
                check_precision(name, "cpu", "precision")
            except UserError:  # what is emulated says nothing about the network
                yield Row("features", what, "not here: the CPU only emulates it", aim, None)
                continue
            network = for_inference(eager, dtype)
            given = images.to(dtype, memory_format=torch.channels_last)
            cosine = cosine_similarity(network(given).float(), expected).min()
            found = compare(lambda: eager(images), lambda: network(given), repeats)
            share = counter.get_total_flops() / found.ours / gemm_peak(dtype)
            told = f"{what}: cosine {cosine:.7f}, {share:.0%} of the {name} GEMM peak"
            yield Row("features", told, "eager fp32", aim, found)
        large, small = (for_inference(of.network, torch.float32) for of in (resnet, lite))
        given = images.to(memory_format=torch.channels_last)
        found = compare(lambda: large(given), lambda: small(given), repeats)
        told = f"EfficientNet-Lite0, {PICTURES} pictures, fp32"
        yield Row("features", told, "ResNet-34, fp32", None, found)
    torch.set_num_threads(threads)
