"""Training: a step against one in the way of the published code, LMMD alone, and all cores."""

from collections.abc import Iterator

import joblib
import torch
from joblib.externals.loky import get_reusable_executor

from stages.fdan.lmmd import lmmd
from stages.fdan.network import FDAN
from stages.fdan.training import (
    Samples,
    Settings,
    batches,
    make_optimiser,
    train_one_epoch,
    train_replica,
)
from tests.benchmarks.published import PublishedTraining, lmmd_class_by_class
from tests.benchmarks.timing import Row, compare, cores

STEPS = 40
FACES, VOICES, DIM, CLASSES, BATCH = 1440, 384, 512, 7, 32  # SAVEE's size


def samples(count: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, DIM, generator=generator)
    return Samples(x, torch.randint(CLASSES, (count,), generator=generator))


def settings(ffn_dim: int, epochs: int = 1) -> Settings:
    """As in params.yaml, but for the width of FFN."""
    return Settings(
        classes=CLASSES, alpha=1e-3, learning_rate=3e-4, momentum=0.99, weight_decay=1e-3,
        batch_size=BATCH, epochs=epochs, network={"dim": 256, "ffn_dim": ffn_dim, "layers": 1},
        lmmd={"kernels": 5, "ratio": 2.0, "bandwidth": "mean", "classes": "all"}, select="last",
    )  # fmt: skip


def rows(repeats: int) -> Iterator[Row]:
    """Steps >= 2.4 and >= 1.7 times as quick, LMMD >= 9, two processes >= 1.8."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    visual, acoustic = samples(FACES, 0), samples(VOICES, 1)
    for ffn_dim, aim in [(256, 2.4), (1024, 1.7)]:
        wanted = settings(ffn_dim)
        network, other = (FDAN(DIM, DIM, CLASSES, **wanted.network) for _ in range(2))
        usual = PublishedTraining(other, visual, acoustic, wanted)
        optimiser = make_optimiser(network.parameters(), wanted)
        faces, voices = (
            batches(part, BATCH, torch.Generator().manual_seed(2)) for part in (visual, acoustic)
        )
        found = compare(
            lambda: usual(STEPS),
            lambda: train_one_epoch(network, optimiser, faces, voices, STEPS, wanted),
            repeats,
        )
        yield Row("training", f"{STEPS} steps, FFN {ffn_dim} wide", "the published way", aim, found)

    z_v, z_a = (torch.randn(BATCH, 256, requires_grad=True) for _ in range(2))
    y_v, y_a = visual.y[:BATCH], acoustic.y[:BATCH]
    found = compare(
        lambda: [lmmd_class_by_class(z_v, y_v, z_a, y_a, CLASSES).backward() for _ in range(20)],
        lambda: [lmmd(z_v, y_v, z_a, y_a, CLASSES).backward() for _ in range(20)],
        repeats,
    )
    yield Row("training", "LMMD, forward and backward, 20 times", "the published way", 9, found)

    if cores() >= 2:
        wanted = settings(256, epochs=60)
        one, two = (joblib.Parallel(n_jobs=jobs) for jobs in (1, 2))
        train = joblib.delayed(one_replica)
        found = compare(
            lambda: one(train(visual, acoustic, wanted, seed) for seed in range(2)),
            lambda: two(train(visual, acoustic, wanted, seed) for seed in range(2)),
            repeats,
        )
        get_reusable_executor().shutdown()  # or this process waits for it for five minutes
        yield Row("training", "2 replicas of 60 epochs, two processes", "one", 1.8, found)
    torch.set_num_threads(threads)


def one_replica(visual: Samples, acoustic: Samples, wanted: Settings, seed: int) -> None:
    torch.set_num_threads(1)
    train_replica(visual, acoustic, None, None, wanted, seed)
