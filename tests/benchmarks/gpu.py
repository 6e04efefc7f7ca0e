"""What a GPU makes of it: training, features and detectors, and whether it agrees with a CPU.

    python -m tests.benchmarks gpu            # all groups, at most 8 minutes on an H100
    python -m tests.benchmarks gpu --dry-run  # the same on a CPU, as small as can be

Needs torch, torchvision, numpy, scipy, h5py, scikit-learn, safetensors, tqdm, joblib, opencv,
pytest and hypothesis; for the tests also pydantic and ruamel.yaml, for the detectors face-alignment
(all pure Python but pydantic-core). Each group runs in a process of its own: one that fails is
reported, and the next goes on. Prints one table in Markdown.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest import mock

import h5py
import numpy as np
import torch

from stages.acoustic_features import spectrograms
from stages.encoders import torchvision_models
from stages.encoders.encode import CLIPS, encode
from stages.encoders.pictures import face_images, for_inference, make_embed, spectrogram_images
from stages.extraction.clip_cache import ClipCache
from stages.fdan import training
from stages.fdan.batches import BANK, make_generator
from stages.fdan.inference import Bank, draw_bank
from stages.fdan.stacking import Stack
from stages.fdan.training import Inputs, Training, initial_network
from stages.io.arrays import encode_ids
from stages.runtime.device import require_determinism
from stages.visual_features import crops
from tests.benchmarks.training import CPU, MELD, SAVEE, samples, settings

ROOT = Path(__file__).parents[2]
VALIDATION = 0.1  # of the training utterances
LIMIT = 180  # seconds for a group


class Row(NamedTuple):
    """A row of the table; `aim` is what was hoped for, where something was."""

    what: str
    found: str
    aim: str = ""


class Scale(NamedTuple):
    """How much is done; a dry run does as little as shows that it works."""

    device: torch.device
    replicas: tuple[int, ...]
    savee_epochs: int
    meld_epochs: int
    timed_epochs: int
    pictures: int
    batch: int
    matrix: int
    frames: int


FULL = Scale(torch.device("cuda"), (1, 5, 25), 300, 20, 2, 6144, 384, 8192, 48)
DRY = Scale(CPU, (1, 2), 2, 1, 1, 12, 6, 256, 2)


def table(dry: bool, groups: Sequence[str] = ()) -> Iterator[str]:
    """The lines of the table, each when it has been measured; of all groups or of some."""
    scale = DRY if dry else FULL
    where = "CPU (dry run)" if dry else torch.cuda.get_device_name()
    yield f"PyTorch {torch.__version__}, {where}\n"
    yield "| | | aim |"
    yield "|---|---|---|"
    for name in groups or GROUPS:
        for row in _rows_of(name, scale):
            yield f"| {row.what} | {row.found} | {row.aim} |"


def _rows_of(group: str, scale: Scale) -> Iterator[Row]:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, group, scale))
    process.start()
    theirs.close()
    deadline = time.monotonic() + LIMIT
    with contextlib.suppress(EOFError):
        while ours.poll(max(0.0, deadline - time.monotonic())):
            yield ours.recv()
        process.kill()
        yield Row(group, f"stopped after {LIMIT} s")
    process.join()


def _send(pipe, group: str, scale: Scale) -> None:
    require_determinism()
    torch.set_num_threads(1)  # what is compared with is one core
    try:
        for row in GROUPS[group](scale):
            pipe.send(row)
    except Exception as error:
        traceback.print_exc()
        pipe.send(Row(group, f"failed: {' '.join(str(error).split())[:200]}"))


def run_tests(scale: Scale) -> Iterator[Row]:
    """(a) The tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, "tests/fdan", "-k", "gpu", "-x" if scale is DRY else "--maxfail=99"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]]
    print(done.stdout[-3000:], done.stderr[-2000:], file=sys.stderr)
    yield Row("tests that need a GPU", lines[-1].strip("= "))


def speed_of_training(scale: Scale) -> Iterator[Row]:
    """(b) Replicas stacked, with and without a graph, and against a core; (e) their memory."""
    corpora = {"SAVEE": (SAVEE, scale.savee_epochs), "MELD": (MELD, scale.meld_epochs)}
    for corpus, (sizes, epochs) in corpora.items():
        first = 0.0
        core = _per_step(CPU, sizes, 1, scale.timed_epochs, steps=24)[0]
        yield Row(f"{corpus}, one core", f"{1000 * core:.2f} ms a step")
        for replicas in scale.replicas:
            if scale.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            a_step, whole = _per_step(scale.device, sizes, replicas, epochs)
            first = first or a_step
            share = replicas * core / a_step
            parts = [
                f"{1000 * a_step:.2f} ms a step",
                f"{epochs} epochs {whole:.1f} s"
                + (f" (300: {whole * 300 / epochs:.0f} s)" if epochs != 300 else ""),
                f"{a_step / first:.2f} times one replica",
                f"1/{share:.0f} of a core",
                f"{_peak_memory(scale.device):.0f} MB",
            ]
            aim = "at most 2 times one; at most 1/50" if replicas == max(scale.replicas) else ""
            yield Row(f"{corpus}, replicas: {replicas}", ", ".join(parts), aim)
        for replicas in (1, max(scale.replicas)):
            with mock.patch.object(training, "capture", lambda step, *_: step):
                eager = _per_step(scale.device, sizes, replicas, scale.timed_epochs, steps=24)[0]
            yield Row(
                f"{corpus}, replicas: {replicas}, without a graph", f"{1000 * eager:.2f} ms a step"
            )


def _per_step(
    device: torch.device, sizes: tuple[int, int], replicas: int, epochs: int, steps: int = 0
) -> tuple[float, float]:
    """Seconds a step, and of the whole training with validation and choice of the epoch.

    Args:
        steps: make so many steps, and nothing else.
    """
    inputs = _inputs(sizes, replicas)
    wanted = settings(epochs=epochs, select="uar")
    if steps:
        networks = [initial_network(of_one, wanted) for of_one in inputs]
        made = Training(inputs, wanted, Stack(networks, device), device)
        indices = made.draw_epoch()
        for batches, of_modality in zip(made.batches.values(), indices):
            batches.indices.copy_(of_modality)
        seconds = []
        for _ in range(3):
            made.number.zero_()
            seconds.append(_wall(lambda: [made.step() for _ in range(min(steps, made.steps[0]))]))
        return min(seconds) / min(steps, made.steps[0]), 0.0
    training.train_replicas(inputs, replace(wanted, epochs=1), device)  # loads kernels
    seconds = _wall(lambda: training.train_replicas(inputs, wanted, device))
    return seconds / epochs / training.steps_of_epoch(inputs[0].acoustic, wanted), seconds


def _inputs(sizes: tuple[int, int], replicas: int) -> list[Inputs]:
    """Replicas of up to five folds, whose seeds share their samples."""
    folds = []
    for fold in range(min(5, replicas)):
        visual, acoustic = samples(sizes[0], 3 * fold), samples(sizes[1], 3 * fold + 1)
        folds.append((visual, acoustic, samples(int(VALIDATION * sizes[1]), 3 * fold + 2)))
    inputs = []
    for number in range(replicas):
        visual, acoustic, validation = folds[number % len(folds)]
        generator = make_generator(number, BANK)
        chosen, other = (draw_bank(of.y, 32, generator) for of in (visual, acoustic))
        bank = Bank(visual.x[chosen], acoustic.x[other])
        inputs.append(Inputs(visual, acoustic, validation, bank, number))
    return inputs


def speed_of_features(scale: Scale) -> Iterator[Row]:
    """(c) ResNet-34: pictures a second, and from files of crops and spectrograms."""
    device, cuda = scale.device, scale.device.type == "cuda"
    encoder = torchvision_models.load("resnet34", "random", 0)
    flops = 2 * 3.664e9  # of one picture of 224 x 224
    with tempfile.TemporaryDirectory() as name, _clips(Path(name), scale) as (frames, mels):
        for kind, dtype, tf32 in [
            ("fp32", torch.float32, False),
            ("fp32, TensorFloat-32", torch.float32, True),
            ("bf16", torch.bfloat16, False),
        ]:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            network = for_inference(encoder.network, dtype).to(device)
            x = torch.rand(scale.batch, 3, 224, 224, device=device).to(
                dtype, memory_format=torch.channels_last
            )
            with torch.inference_mode():
                alone = scale.batch / median(_repeated(lambda: network(x)))
            a = torch.randn(scale.matrix, scale.matrix, device=device, dtype=dtype)
            peak = 2 * scale.matrix**3 / min(_repeated(lambda: a @ a))
            fused = encoder._replace(network=for_inference(encoder.network, dtype))
            embed = make_embed(fused, device.type, dtype)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            rates = []
            for file, read, images, pictures in [
                (frames, crops, face_images, 3),
                (mels, spectrograms, partial(spectrogram_images, db_min=-70.0, db_max=30.0), 1),
            ]:
                to_images = partial(images, device=device.type)
                for number in range(2):  # the first loads kernels
                    layout = {"values": ("float32", (pictures, 512))}
                    cache = ClipCache(Path(name) / f"{kind} {pictures} {number}", "", layout)
                    found = encode(
                        read(file), to_images, embed, cache, device.type, CLIPS[device.type]
                    )
                    seconds = _wall(lambda found=found: deque(found, maxlen=0))
                rates.append(scale.pictures / seconds)
            yield Row(
                f"ResNet-34, {kind}",
                f"network alone {alone:.0f} pictures/s, {alone * flops / peak:.0%} of the card's "
                f"{peak / 1e12:.0f} TFLOP/s; from a file of crops {rates[0]:.0f}/s, of "
                f"spectrograms {rates[1]:.0f}/s; {_peak_memory(device):.0f} MB",
                "the network is the bottleneck",
            )


@contextlib.contextmanager
def _clips(folder: Path, scale: Scale) -> Iterator[tuple[h5py.File, h5py.File]]:
    """Files as the stages frames and mels write them, of noise; 3 s a spectrogram.

    No two clips are the same, as what is made of one serves for all that are.
    """
    random, clips = np.random.default_rng(0), scale.pictures // 3
    with h5py.File(folder / "frames.h5", "w") as frames, h5py.File(folder / "mels.h5", "w") as mels:
        frames["ids"] = encode_ids([str(i) for i in range(clips)])
        faces = random.integers(0, 256, (3, 224, 224, 3), np.uint8)
        stored = frames.create_dataset(
            "faces", (clips, *faces.shape), np.uint8, chunks=(1, *faces.shape), fletcher32=True
        )
        for i in range(clips):
            faces.reshape(-1)[:4] = np.array([i], "<u4").view(np.uint8)
            stored[i] = faces
        mels["offsets"] = np.arange(scale.pictures + 1) * 301
        mels["ids"] = encode_ids([str(i) for i in range(scale.pictures)])
        values = np.tile(random.normal(-20, 20, (301, 128)), (scale.pictures, 1))
        values[::301, 0] = np.arange(scale.pictures)
        mels.create_dataset(
            "values", data=values.astype(np.float32), chunks=(1024, 128), fletcher32=True
        )
        yield frames, mels


def speed_of_detectors(scale: Scale) -> Iterator[Row]:
    """(d) S3FD on frames of 640 x 360, three at a time as a clip has them, and more at once.

    Its weights are random, and biased so that it finds nothing: to sort out what it finds takes
    time by the face, on the CPU.
    """
    from face_alignment.detection.sfd.detect import batch_detect
    from face_alignment.detection.sfd.net_s3fd import s3fd

    network = s3fd().to(scale.device).eval()
    for name, layer in network.named_children():
        if name.endswith("_conf"):
            layer.bias.data[:-1] = 50.0  # all classes but the last are "no face"
    frames = torch.randint(0, 256, (scale.frames, 3, 360, 640), generator=make_generator(0, 0))
    for batch in sorted({1, min(3, scale.frames), scale.frames}):

        def detect(batch: int = batch) -> None:
            for part in frames.split(batch):
                batch_detect(network, part.to(scale.device), scale.device.type)

        with torch.inference_mode():
            rate = scale.frames / median(_repeated(detect, 3))
        if scale.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            detect()
        found = f"{rate:.0f} frames/s, {_peak_memory(scale.device):.0f} MB"
        yield Row(f"S3FD, 640 x 360, {batch} at once", found)


def agreement(scale: Scale) -> Iterator[Row]:
    """(f) 40 steps and a validation on the device and on the CPU."""
    for dtype, aim in [(torch.float64, "1e-9"), (torch.float32, "rounding")]:
        torch.set_default_dtype(dtype)
        inputs = [
            of._replace(
                visual=of.visual._replace(x=of.visual.x.to(dtype)),
                acoustic=of.acoustic._replace(x=of.acoustic.x.to(dtype)),
                validation=of.validation._replace(x=of.validation.x.to(dtype)),
                bank=Bank(*(part.to(dtype) for part in of.bank)),
            )
            for of in _inputs((1440, 40 * 32), 2)
        ]
        wanted = settings(epochs=1)
        found, expected = [], []
        for device, kept in [(scale.device, found), (CPU, expected)]:
            stack = Stack([initial_network(of_one, wanted) for of_one in inputs], device)
            made = Training(inputs, wanted, stack, device)
            made.train_one_epoch(made.draw_epoch())
            validation = training.Validation(inputs, wanted, stack, device)
            validation.evaluate()
            kept += [made.noted[0].cpu(), validation.losses.cpu(), validation.predicted.cpu()]
        losses = (found[0] - expected[0]).abs().max()
        validated = (found[1] - expected[1]).abs().max()
        differ = int((found[2] != expected[2]).sum())
        yield Row(
            f"device against CPU, {str(dtype).removeprefix('torch.')}",
            f"losses of 40 steps differ by at most {losses:.1e}, validation losses by "
            f"{validated:.1e}, {differ} of {found[2].numel()} predictions",
            aim,
        )
    torch.set_default_dtype(torch.float32)


def _wall(work: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _repeated(work: Callable[[], object], repeats: int = 7) -> list[float]:
    work()
    return [_wall(work) for _ in range(repeats)]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_memory(device: torch.device) -> float:
    """MB of the device that tensors have taken at most."""
    return torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else float("nan")


GROUPS = {
    "agreement": agreement,
    "training": speed_of_training,
    "features": speed_of_features,
    "detectors": speed_of_detectors,
    "tests": run_tests,
}
