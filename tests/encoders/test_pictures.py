"""What an encoder is shown of a face or a spectrogram, and in how many parts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.encoders.pictures import PictureEncoder, face_images, make_embed, spectrogram_images
from stages.runtime.errors import UserError

LOW, HIGH = -60.0, 40.0


def picture(mel: np.ndarray) -> Tensor:
    return spectrogram_images([mel.astype(np.float32)], LOW, HIGH)[0]


def mel_with(part: tuple[slice, slice], steps: int = 60, filters: int = 40) -> np.ndarray:
    """Silence, but for the loudest level in a part [T, n_mels]."""
    mel = np.full((steps, filters), LOW)
    mel[part] = HIGH
    return mel


@pytest.mark.parametrize("steps, filters", [(7, 128), (101, 128), (6000, 128), (30, 40), (1, 8)])
def test_a_spectrogram_of_any_size_is_a_grey_picture(steps: int, filters: int):
    image = picture(np.random.default_rng(0).uniform(-80, 60, (steps, filters)))
    assert image.shape == (3, 224, 224) and image.dtype == torch.float32
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    assert 0 <= image.min() and image.max() <= 1


def test_low_frequencies_are_at_the_bottom():
    image = picture(mel_with(np.s_[:, :10]))[0]
    assert (image[180:] == 1).all() and (image[:160] == 0).all()


def test_time_runs_to_the_right():
    image = picture(mel_with(np.s_[45:, :]))[0]
    assert (image[:, 180:] == 1).all() and (image[:, :160] == 0).all()


@pytest.mark.parametrize(
    "decibels, grey", [(-60, 0.0), (-10, 0.5), (40, 1.0), (-100, 0.0), (90, 1.0)]
)
def test_the_range_of_decibels_spans_black_to_white(decibels: float, grey: float):
    image = picture(np.full((50, 64), decibels))
    torch.testing.assert_close(image, torch.full((3, 224, 224), grey))


def test_a_loud_moment_between_two_pixels_of_a_long_spectrogram_stays_visible():
    mel = mel_with(np.s_[2992:3006, :], steps=6000, filters=128)
    assert picture(mel).max() > 0.2


def test_a_crop_of_the_right_size_is_only_scaled():
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = np.moveaxis(crops, 3, 1) / np.float32(255)
    np.testing.assert_allclose(face_images([crops]), expected, atol=1e-6)


@pytest.mark.parametrize("size", [32, 96, 300])
def test_a_crop_of_another_size_is_resized(size: int):
    crops = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    images = face_images([crops])
    assert images.shape == (2, 3, 224, 224) and 0 <= images.min() and images.max() <= 1


def test_resizing_keeps_colours_and_places():
    crops = np.zeros((1, 100, 100, 3), np.uint8)
    crops[0, :50, :, 0] = 255  # the upper half is red
    red, green, _ = face_images([crops])[0]
    assert (red[:105] == 1).all() and (red[120:] == 0).all() and (green == 0).all()


def encoder(network: torch.nn.Module) -> PictureEncoder:
    return PictureEncoder(network, (0.5, 0.25, 0.75), (0.5, 1, 2), "nowhere")


def test_a_picture_of_the_mean_colour_reaches_the_network_as_zeros():
    images = torch.tensor((0.5, 0.25, 0.75)).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    embed = make_embed(encoder(torch.nn.Flatten()), "cpu")
    np.testing.assert_allclose(embed(images), np.zeros((1, 48)), atol=1e-6)


class SmallGPU(torch.nn.Module):
    """What stands for a network on a GPU that has memory for so many pictures at once."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((2, 3))


@pytest.mark.parametrize("room, sizes", [(7, [7]), (6, [7, 4, 3]), (4, [7, 4, 3])])
def test_pictures_that_do_not_fit_at_once_are_embedded_in_two_halves(room: int, sizes: list[int]):
    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small, large = SmallGPU(room), SmallGPU(7)
    found = make_embed(encoder(small), "cpu")(images)
    np.testing.assert_array_equal(found, make_embed(encoder(large), "cpu")(images))
    assert small.sizes == sizes


@pytest.mark.parametrize("pictures", [1, 7])
def test_pictures_that_do_not_fit_by_halves_either_are_told_in_one_line(pictures: int):
    room = 0 if pictures == 1 else 3
    with pytest.raises(UserError, match="^features: the GPU has no memory left; choose a smaller"):
        make_embed(encoder(SmallGPU(room)), "cpu")(torch.zeros(pictures, 3, 8, 8))
