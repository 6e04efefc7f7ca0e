"""Augmented copies of faces: mirrored in half of the copies, in other colours, always the same."""

from typing import Any

import numpy as np
import pytest
import torch

from stages.encoders.face_copies import copied, face_copies

OFF: dict[str, Any] = {"copies": 2, "seed": 0, "flip": False, "colour": 0.0}


def faces(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_faces_are_mirrored_in_one_of_two_copies_and_all_of_a_clip_alike():
    plain, settings = faces(), OFF | {"flip": True}
    mirrored = plain[:, :, ::-1]
    found = [copied(plain, settings, copy) for copy in range(1, 101)]
    assert all(np.array_equal(one, plain) or np.array_equal(one, mirrored) for one in found)
    share = np.mean([np.array_equal(one, mirrored) for one in found])
    assert 0.35 < share < 0.65


def test_colours_change_by_the_share_that_is_asked_for_and_not_beyond():
    plain = np.full((3, 32, 32, 3), (120, 100, 90), np.uint8)
    lows = []
    for colour in (0.1, 0.4):
        found = np.stack([copied(plain, OFF | {"colour": colour}, copy) for copy in range(1, 60)])
        assert found.dtype == np.uint8 and found.shape[1:] == plain.shape
        ratio = found.mean((1, 2, 3, 4)) / plain.mean()
        # Brightness is multiplied by 1 - colour to 1 + colour; the contrast of a flat face and its
        # saturation leave the mean as it is, but for rounding.
        assert np.abs(ratio - 1).max() < colour + 0.02
        assert np.abs(ratio - 1).max() > 0.7 * colour
        lows.append(ratio.min())
    assert lows[1] < lows[0]


def test_the_faces_of_a_clip_change_alike():
    plain = np.repeat(faces()[:1], 3, 0)
    found = copied(plain, OFF | {"colour": 0.5, "flip": True}, 1)
    assert not np.array_equal(found, plain)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_a_copy_follows_from_the_faces_its_number_and_the_seed():
    settings = OFF | {"colour": 0.5}
    first = copied(faces(), settings, 1)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    assert np.array_equal(copied(faces(), settings, 1), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    for other in (
        copied(faces(), settings, 2),
        copied(faces(), settings | {"seed": 1}, 1),
        copied(faces(1), settings, 1),
    ):
        assert not np.array_equal(other, first)


@pytest.mark.parametrize(
    "changes, copies",
    [({}, 0), ({"flip": True}, 2), ({"colour": 0.1}, 2), ({"noise_db": [1.0, 2.0]}, 0)],
)
def test_only_what_changes_faces_makes_copies_of_them(changes: dict[str, Any], copies: int):
    assert face_copies(OFF | changes) == copies
