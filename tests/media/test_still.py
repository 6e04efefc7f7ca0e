"""A picture is a face that counts once, whatever format it has."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.corpora.still import SUFFIXES, is_still
from stages.io.arrays import fits
from stages.media import crops
from stages.media.crops import STATUS, Faces, clip_faces
from stages.media.probe import probe, probe_utterance
from stages.media.video import sample_frames
from stages.runtime.errors import ClipError
from tests.media_files import write_video

SIZE = 32
BOX = np.array([[8, 8, 40, 40, 1]], np.float32)
LEFT_RED = np.zeros((60, 80, 3), np.uint8)
LEFT_RED[:, :40, 0] = 250


def write_picture(path: Path, mode: str = "RGB", **options) -> Path:
    Image.fromarray(LEFT_RED).convert(mode).save(path, **options)
    return path


def code_of(call, *arguments, **named) -> str:
    with pytest.raises(ClipError) as caught:
        call(*arguments, **named)
    return caught.value.code


def cropped(path: Path, no_face: str = "centre_crop") -> Faces:
    return clip_faces(path, "haar", 0.1, 0.0, SIZE, False, no_face, "cpu")


@pytest.mark.parametrize("suffix", [*sorted(SUFFIXES), ".JPG"])
def test_pictures_of_all_formats_are_read_as_they_are(suffix: str, tmp_path: Path):
    path = write_picture(tmp_path / f"100%03d{suffix}")
    frames = sample_frames(path, 1)
    assert frames.images.shape == (1, 60, 80, 3)
    assert np.abs(frames.images[0, ::20, 10::60].astype(int) - LEFT_RED[::20, 10::60]).max() < 12
    assert probe(path, ["video"]) == {"video": 0.0}
    assert probe_utterance(tmp_path, path.name, "").duration is None


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "I;16"])
def test_pictures_of_all_depths_are_read(mode: str, tmp_path: Path):
    path = tmp_path / "a.png"
    if mode == "I;16":
        Image.fromarray(LEFT_RED[..., 0].astype(np.uint16) * 257).save(path)
    else:
        write_picture(path, mode)
    image = sample_frames(path, 1).images[0]
    assert image.shape == (60, 80, 3) and image[:, :40].mean() > 60 + image[:, 40:].mean()


def test_a_picture_is_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6  # turned right to be upright
    image = sample_frames(write_picture(tmp_path / "a.jpg", exif=exif), 1).images[0]
    assert image.shape == (80, 60, 3) and image[10, 30, 0] > 200 > 50 > image[70, 30, 0]


def test_a_picture_is_v1_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: [BOX] * len(images))
    found = cropped(write_picture(tmp_path / "a.png"))
    assert [STATUS[i] for i in found.status] == ["face", "absent", "absent"]
    assert found.ok.tolist() == [True, False, False] and found.found.tolist() == [1, 0, 0]
    assert found.faces[0].any() and not found.faces[1:].any()
    assert fits(found._asdict(), Faces.layout({"size": SIZE}))


@pytest.mark.parametrize("no_face", ["nearest", "skip"])
def test_a_picture_without_a_face_is_skipped_or_its_centre(no_face: str, tmp_path: Path):
    path = write_picture(tmp_path / "a.png")
    assert [STATUS[i] for i in cropped(path).status] == ["centre_crop", "absent", "absent"]
    with pytest.raises(ClipError, match="haar finds no face in the picture"):
        cropped(path, no_face)


def test_a_clip_that_is_called_a_picture_is_none_and_the_other_way_round(tmp_path: Path):
    write_video(tmp_path / "a.mp4").rename(tmp_path / "a.png")
    write_picture(tmp_path / "b.png").rename(tmp_path / "b.mp4")
    for name, what in (("a.png", "the pictures that are read"), ("b.mp4", "those that hold clips")):
        with pytest.raises(ClipError, match=f"none of {what}; convert it to "):
            sample_frames(tmp_path / name)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_that_is_cut_is_an_error_of_its_own(suffix: str, share: float, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert code_of(sample_frames, path, 1) in ("unreadable", "truncated")


def test_a_jpeg_within_a_jpeg_and_what_follows_its_end_do_not_count(tmp_path: Path):
    small = io.BytesIO()
    Image.fromarray(LEFT_RED).save(small, "jpeg")
    path = write_picture(tmp_path / "a.jpg", comment=small.getvalue(), quality=95)
    whole = path.read_bytes()
    assert sample_frames(path, 1).images.shape == (1, 60, 80, 3)
    scan = whole.rindex(b"\xff\xda")
    path.write_bytes(whole[:scan] + b"\xff" + whole[scan:] + b"what a camera adds \xff\xda")
    assert sample_frames(path, 1).images.shape == (1, 60, 80, 3)
    path.write_bytes(whole[: scan + 40])
    assert small.getvalue() in path.read_bytes()
    assert code_of(sample_frames, path, 1) == "truncated"


def test_a_picture_too_large_is_not_decoded(tmp_path: Path):
    assert code_of(sample_frames, write_picture(tmp_path / "a.png"), 1, max_pixels=4799) == (
        "too_large"
    )


def test_a_pattern_of_names_opens_no_other_files(tmp_path: Path):
    for number in range(3):
        write_picture(tmp_path / f"a{number}.png")
    assert code_of(sample_frames, tmp_path / "a%d.png", 1) == "unreadable"
    (tmp_path / "a%d.png").write_bytes(b"no picture" * 100)
    assert code_of(sample_frames, tmp_path / "a%d.png", 1) == "unreadable"


@pytest.mark.parametrize(
    "name, still",
    [("a.png", True), ("a.JPEG", True), ("._a.png", False), ("a.mp4", False), ("a.png.txt", False)],
)
def test_a_picture_is_told_by_its_suffix(name: str, still: bool):
    assert is_still(Path(name)) is still
