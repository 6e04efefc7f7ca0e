"""Training: a step against one in the way of the published code, LMMD alone, and all cores."""

from collections.abc import Iterator

import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from torch.nn.functional import one_hot

from stages.fdan.lmmd import lmmd
from stages.fdan.stacking import Stack
from stages.fdan.training import Inputs, Settings, Training, initial_network, train_replicas
from stages.systems.contract import Samples
from tests.benchmarks.published import PublishedTraining, lmmd_class_by_class
from tests.benchmarks.timing import Row, compare, cores

EPOCHS = 4  # of 12 steps
SAVEE = (1440, 384)  # visual and acoustic training samples of a fold
MELD = (41_124, 10_966)
DIM, CLASSES, BATCH = 512, 7, 32
CPU = torch.device("cpu")


def samples(count: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, DIM, generator=generator)
    return Samples(x, torch.randint(CLASSES, (count,), generator=generator))


def settings(ffn_dim: int = 256, epochs: int = 1, select: str = "last") -> Settings:
    """As in params.yaml, but for the width of FFN and the epochs."""
    return Settings(
        classes=CLASSES,
        alpha=1e-3,
        learning_rate=3e-4,
        momentum=0.99,
        weight_decay=1e-3,
        batch_size=BATCH,
        epochs=epochs,
        network={
            "dim": 256,
            "ffn_dim": ffn_dim,
            "layers": 1,
            "cross_attention": True,
            "acoustic_only": False,
        },
        lmmd={"kernels": 5, "ratio": 2.0, "bandwidth": "mean", "classes": "all"},
        select=select,
    )


def rows(repeats: int) -> Iterator[Row]:
    """Steps >= 2.4 and >= 1.7 times as quick, LMMD >= 9, two processes >= 1.8."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs = Inputs(samples(SAVEE[0], 0), samples(SAVEE[1], 1), None, None, 2)
    for ffn_dim, aim in [(256, 2.4), (1024, 1.7)]:
        wanted = settings(ffn_dim)
        usual = PublishedTraining(
            initial_network(inputs, wanted), inputs.visual, inputs.acoustic, wanted
        )
        ours = Training([inputs], wanted, Stack([initial_network(inputs, wanted)], CPU), CPU)
        steps = EPOCHS * ours.steps[0]
        found = compare(lambda: usual(steps), lambda: train_epochs(ours), repeats)
        yield Row("training", f"{steps} steps, FFN {ffn_dim} wide", "the published way", aim, found)

    z_v, z_a = (torch.randn(BATCH, 256, requires_grad=True) for _ in range(2))
    y_v, y_a = inputs.visual.y[:BATCH], inputs.acoustic.y[:BATCH]
    one_hot_rows = one_hot(y_v, CLASSES).float(), z_a, one_hot(y_a, CLASSES).float()
    found = compare(
        lambda: [lmmd_class_by_class(z_v, y_v, z_a, y_a, CLASSES).backward() for _ in range(20)],
        lambda: [lmmd(z_v, *one_hot_rows).backward() for _ in range(20)],
        repeats,
    )
    yield Row("training", "LMMD, forward and backward, 20 times", "the published way", 9, found)

    if cores() >= 2:
        wanted = settings(epochs=60)
        one, two = (joblib.Parallel(n_jobs=jobs) for jobs in (1, 2))
        train = joblib.delayed(one_replica)
        found = compare(
            lambda: one(train(inputs._replace(seed=seed), wanted) for seed in range(2)),
            lambda: two(train(inputs._replace(seed=seed), wanted) for seed in range(2)),
            repeats,
        )
        get_reusable_executor().shutdown()  # or this process waits for it for five minutes
        yield Row("training", "2 replicas of 60 epochs, two processes", "one", 1.8, found)
    torch.set_num_threads(threads)


def train_epochs(training: Training) -> None:
    for _ in range(EPOCHS):
        indices = training.draw_epoch()
        training.train_one_epoch(indices)
        training.read_epoch(indices)


def one_replica(inputs: Inputs, wanted: Settings) -> None:
    torch.set_num_threads(1)
    train_replicas([inputs], wanted, CPU)
