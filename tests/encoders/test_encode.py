"""Clips through a network: each depends on nothing else, and none is worked on twice."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.encoders import encode as module
from stages.encoders import torchvision_models
from stages.encoders.encode import CLIPS, ahead, encode
from stages.encoders.pictures import face_images, for_inference, make_embed, spectrogram_images
from stages.extraction.clip_cache import ClipCache, cache_folder, clip_cache, write_entry
from stages.runtime.errors import UserError
from tests.encoders.test_pictures import HIGH, LOW
from tests.helpers import user_error

Arrays = list[np.ndarray]
voice_images = partial(spectrogram_images, db_min=LOW, db_max=HIGH)


def voices(count: int) -> Arrays:
    """Spectrograms [T, 40], of which no two are the same, or as long as their neighbours."""
    rng = np.random.default_rng(0)
    return [rng.uniform(LOW, HIGH, (7 + i % 5, 40)).astype(np.float32) for i in range(count)]


def faces(count: int) -> Arrays:
    """Crops [3, 32, 32, 3]."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (3, 32, 32, 3), np.uint8) for _ in range(count)]


def cache(dim: int = 2, pictures: int = 1, **made_with: Any) -> ClipCache:
    layout = {"values": ("float32", (pictures, dim))}
    return clip_cache("features", spectrogram_images, made_with, layout)


class Counted:
    """What stands for a network: two numbers that tell pictures apart.

    Attributes:
        sizes: of the batches that it was given.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> np.ndarray:
        self.sizes.append(len(images))
        return torch.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0]], dim=1).numpy()


def by_clip(
    network: Callable[[Tensor], np.ndarray], pictures: int
) -> Callable[[Tensor], list[dict[str, np.ndarray]]]:
    """What a network gives for pictures, by clip."""

    def embed(images: Tensor) -> list[dict[str, np.ndarray]]:
        return [{"values": of} for of in np.split(network(images), len(images) // pictures)]

    return embed


def encoded(
    arrays: Arrays,
    embed: Callable[[Tensor], np.ndarray] | None = None,
    to_images: Callable[..., Tensor] = voice_images,
    kept: ClipCache | None = None,
    device: str = "cpu",
) -> Arrays:
    clips = [(f"sample/{i}", array) for i, array in enumerate(arrays)]
    by = by_clip(embed or Counted(), 3 if to_images is face_images else 1)
    found = encode(clips, to_images, by, kept or cache(), device, CLIPS[device])
    return [of["values"] for of in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name, kind, pictures",
    [
        ("resnet34", "voices", 1),
        ("regnet_y_400mf", "voices", 1),
        ("squeezenet1_1", "voices", 1),
        ("squeezenet1_1", "faces", 3),
    ],
)
def test_the_features_of_a_clip_depend_on_no_other_clip(
    name: str, kind: str, pictures: int, dtype: torch.dtype
) -> None:
    """Of RegNet and SqueezeNet the last bits differ with the size of a batch, below four."""
    encoder = torchvision_models.load(name, "random", 0)
    fused = encoder._replace(network=for_inference(encoder.network, dtype))
    network = make_embed(fused, "cpu", dtype)
    dim = {"regnet_y_400mf": 440}.get(name, 512)
    arrays = {"voices": voices, "faces": faces}[kind](16)
    to_images = {"voices": voice_images, "faces": face_images}[kind]
    found = {}
    for clips in (1, 3, 16):
        of_these = cache(dim, pictures, clips=clips)  # so that nothing is kept of the others
        parts = [arrays[i : i + clips] for i in range(0, {1: 4, 3: 6, 16: 16}[clips], clips)]
        found[clips] = [
            values for part in parts for values in encoded(part, network, to_images, of_these)
        ]
    for clips in (1, 3):
        for values, expected in zip(found[clips], found[16]):
            np.testing.assert_array_equal(values, expected)
    order = np.random.default_rng(0).permutation(16)
    mixed = encoded([arrays[i] for i in order], network, to_images, cache(dim, pictures, clips=0))
    for i, values in zip(order, mixed):
        np.testing.assert_array_equal(values, found[16][i])


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose way is gone, in batches of four clips; what stands for a network needs no GPU."""
    monkeypatch.setitem(CLIPS, "cuda", 4)
    return request.param


@pytest.mark.parametrize("count", [0, 1, 4, 5, 16])
def test_every_clip_keeps_its_place_and_every_batch_has_one_size(count: int, device: str) -> None:
    network = Counted()
    found = encoded(voices(count), network, device=device)
    assert network.sizes == [4] * -(-count // 4)
    expected = [Counted()(voice_images([voice])) for voice in voices(count)]
    assert len(found) == count
    for values, one in zip(found, expected):
        np.testing.assert_allclose(values, one, rtol=1e-6)


def test_three_faces_of_a_clip_stay_together(device: str) -> None:
    found = encoded(faces(5), to_images=face_images, kept=cache(2, 3), device=device)
    for values, clip in zip(found, faces(5)):
        np.testing.assert_allclose(values, Counted()(face_images([clip])), rtol=1e-6)


def test_no_clip_is_worked_on_twice_and_ten_more_cost_ten(device: str) -> None:
    first, both, again = Counted(), Counted(), Counted()
    of_few = encoded(voices(22), first, device=device)
    of_all = encoded(voices(32), both, device=device)
    assert sum(first.sizes) == 24 and sum(both.sizes) == 12
    np.testing.assert_array_equal(of_all[:22], of_few)
    np.testing.assert_array_equal(encoded(voices(32)[::-1], again, device=device), of_all[::-1])
    assert again.sizes == []


def test_new_clips_among_old_ones_share_batches(device: str) -> None:
    arrays = voices(40)
    old, new = Counted(), Counted()
    encoded(arrays[::10], old, device=device)
    found = encoded(arrays, new, device=device)
    assert (sum(old.sizes), sum(new.sizes)) == (4, 36)
    np.testing.assert_allclose(np.concatenate(found), Counted()(voice_images(arrays)), rtol=1e-6)


def entries() -> list[Path]:
    return sorted((cache_folder() / "features").iterdir())


def test_an_entry_that_is_damaged_or_of_another_shape_counts_as_absent() -> None:
    expected = encoded(voices(3))
    damaged, reshaped, _ = entries()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    reshaped.unlink()
    write_entry(reshaped, {"values": np.zeros((1, 3), np.float32)}, {})
    network = Counted()
    np.testing.assert_array_equal(encoded(voices(3), network), expected)
    assert network.sizes == [4]
    np.testing.assert_array_equal(encoded(voices(3), network), expected)
    assert network.sizes == [4]


def test_the_same_bytes_in_another_shape_are_another_clip() -> None:
    of_all = cache()
    one = np.zeros((10, 40), np.float32)
    found = {of_all.entry_of(array) for array in (one, one.reshape(20, 20), one.view(np.int32))}
    assert len(found) == 3 and of_all.entry_of(one[::-1]) in found


def test_equal_clips_share_an_entry() -> None:
    first, second = encoded([voices(1)[0]] * 2)
    np.testing.assert_array_equal(first, second)
    assert len(entries()) == 1


def test_a_cache_that_is_emptied_meanwhile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def emptied_at_once(entry: Path, *arguments: Any) -> None:
        write_entry(entry, *arguments)
        shutil.rmtree(entry.parent)

    monkeypatch.setattr(module, "write_entry", emptied_at_once)
    message = user_error(encoded, voices(1))
    assert "what was made of sample/0 is not there" in message and "FDAN_CACHE" in message


def test_what_was_done_before_an_error_is_kept(device: str) -> None:
    class Fails(Counted):
        def __call__(self, images: Tensor) -> np.ndarray:
            if len(self.sizes) == 3:
                raise UserError("out of memory")
            return super().__call__(images)

    with pytest.raises(UserError, match="out of memory"):
        encoded(voices(40), Fails(), device=device)
    after = Counted()
    encoded(voices(40), after, device=device)
    assert sum(after.sizes) <= 40 - (4 if device == "cuda" else 8)


def test_items_are_prepared_ahead_and_no_further_than_two() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(6):
            made.append(i)
            yield i

    taken = []
    for item in ahead(items()):
        taken.append(item)
        time.sleep(0.05)
        assert taken[-1] < made[-1] <= taken[-1] + 2 or made[-1] == 5
    assert taken == made == list(range(6))


def test_what_goes_wrong_ahead_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise UserError("a damaged file")

    found = ahead(items())
    assert next(found) == 0
    with pytest.raises(UserError, match="a damaged file"):
        next(found)
