"""Features: what the frozen backbone makes of every face and every spectrogram.

In:  data/frames/<corpus>.h5, data/mels/<corpus>.h5
Out: data/features/<corpus>.h5
       visual_ids [Nv], visual float32 [Nv, 3, D], visual_ok bool [Nv, 3] (frame not missing)
       acoustic_ids [Na], acoustic float32 [Na, D]
Paper: Section 2, X_v and X_a, "visual and acoustic features extracted by the pre-trained
ResNet-34". A spectrogram is shown to it as a grey picture, low frequencies at the bottom.
Run: dvc repro features@<corpus>, or python -m stages.features <corpus>
"""

import ctypes
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import h5py
import joblib
import numpy as np
import torch

from stages.encoders.embed import Embed, face_images, make_embed, spectrogram_images
from stages.encoders.pictures import PRECISION, for_inference, make_backbone
from stages.io.arrays import open_arrays, write_arrays
from stages.runtime.command import run_stage
from stages.runtime.device import check_precision, pick_device
from stages.runtime.errors import UserError
from stages.runtime.params import check_random_weights, read_params
from stages.runtime.paths import features_path, frames_path, mels_path
from stages.runtime.progress import track
from stages.runtime.space import features_bytes

CLIPS = {"cpu": 16, "cuda": 128}  # in one pass through the backbone


def visual_features(frames: h5py.File, embed: Embed, device: str) -> Iterator[np.ndarray]:
    """Features [3, D] of one clip after another."""
    for features in embedded(face_batches(frames, device), embed, device):
        yield from features.reshape(-1, frames["faces"].shape[1], features.shape[1])


def acoustic_features(
    mels: h5py.File, embed: Embed, db_min: float, db_max: float, device: str
) -> Iterator[np.ndarray]:
    """Features [D] of one spectrogram after another."""
    for features in embedded(spectrogram_batches(mels, db_min, db_max, device), embed, device):
        yield from features


def face_batches(frames: h5py.File, device: str) -> Iterator[torch.Tensor]:
    """Pictures of the three faces of some clips after another, made on the device."""
    for start in range(0, len(frames["ids"]), CLIPS[device]):
        faces = torch.from_numpy(frames["faces"][start : start + CLIPS[device]])
        yield face_images(faces.to(device).flatten(0, 1))


def spectrogram_batches(
    mels: h5py.File, db_min: float, db_max: float, device: str
) -> Iterator[torch.Tensor]:
    """Pictures of some spectrograms after another, made on the device."""
    offsets = mels["offsets"][...]
    for start in range(0, len(offsets) - 1, CLIPS[device]):
        part = offsets[start : start + CLIPS[device] + 1]
        values = torch.from_numpy(mels["values"][part[0] : part[-1]]).to(device)
        yield spectrogram_images(values, (part - part[0]).tolist(), db_min, db_max)


def ahead(batches: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The same batches; a thread prepares the next two while the network works on one."""
    with ThreadPoolExecutor(1) as thread:
        prepared = deque(thread.submit(next, batches, None) for _ in range(2))
        while (batch := prepared.popleft().result()) is not None:
            prepared.append(thread.submit(next, batches, None))
            yield batch


def embedded(batches: Iterator[torch.Tensor], embed: Embed, device: str) -> Iterator[np.ndarray]:
    """The features of one batch after another.

    On a CPU a thread works on each of some batches at once. Several threads to one batch would add
    up in another order, and give other last bits, for each number of threads.
    """
    if device != "cpu":
        yield from map(embed, ahead(batches))
        return
    torch.set_num_threads(1)
    # Blocks of 4 MB and more go back to the system at once (glibc's M_MMAP_THRESHOLD, which else
    # grows): kept in the heaps of several threads they would fall apart, and memory would grow.
    ctypes.CDLL(None).mallopt(-3, 4 << 20)
    cores = joblib.cpu_count()
    with ThreadPoolExecutor(cores) as threads:
        # All begin together, so that the first round needs as much memory as any.
        while together := list(islice(batches, cores)):
            yield from threads.map(embed, together)


def require_finite(features: np.ndarray, corpus: str, backbone: str) -> np.ndarray:
    """Return `features`, or raise UserError where the backbone overflowed."""
    if not np.isfinite(features).all():
        raise UserError(
            f"features@{corpus}: {backbone} gives values that are not finite; "
            "choose other features.weights or features.backbone"
        )
    return features


def main(corpus: str) -> None:
    """Write the features of a corpus."""
    params = read_params()
    settings = params.features.model_dump()
    check_random_weights(corpus, settings["weights"], settings.pop("allow_random_weights"))
    device = pick_device()
    check_precision(settings["precision"], device)
    name, db_min, db_max = settings["backbone"], settings["db_min"], settings["db_max"]
    backbone, source = make_backbone(name, settings["weights"], settings["seed"])
    dtype = PRECISION[settings["precision"]]
    embed = make_embed(for_inference(backbone, dtype), device, dtype)
    label = f"features@{corpus}"
    with (
        open_arrays(frames_path(corpus), "frames") as frames,
        open_arrays(mels_path(corpus), "mels") as mels,
    ):
        n_visual, n_acoustic = len(frames["ids"]), len(mels["ids"])
        out = features_path(corpus)
        expected_bytes = features_bytes(n_acoustic + (frames["ok"].size if n_visual else 0))
        with write_arrays(
            out, "features", settings | {"weights_source": source}, expected_bytes
        ) as arrays:
            arrays.append("visual_ids", frames["ids"][...])
            arrays.append("acoustic_ids", mels["ids"][...])
            if n_visual:
                arrays.append("visual_ok", frames["ok"][...])
            visual = visual_features(frames, embed, device)
            for row in track(visual, n_visual, f"{label} visual", "clips"):
                arrays.append("visual", require_finite(row, corpus, name)[None])
            acoustic = acoustic_features(mels, embed, db_min, db_max, device)
            for row in track(acoustic, n_acoustic, f"{label} acoustic", "clips"):
                arrays.append("acoustic", require_finite(row, corpus, name)[None])
    print(
        f"{label}: {n_visual} visual and {n_acoustic} acoustic samples through {name}, {source}, "
        f"on {device}"
    )


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
