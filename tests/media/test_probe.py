"""What is known of a clip without decoding it."""

import subprocess
import sys
from pathlib import Path

import av
import pytest

from stages.media.audio import read_audio
from stages.media.probe import far_apart, probe, probe_duration
from stages.media.video import sample_frames
from stages.runtime.errors import ClipError, UserError
from tests.helpers import ROOT
from tests.media_files import add_cover, corpora, sine, write_sound, write_video

BOTH = ("video", "audio")


def codes(path: Path) -> dict[str, str]:
    found = probe(path, BOTH)
    return {kind: item.code for kind, item in found.items() if isinstance(item, ClipError)}


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
def test_face_and_voice_last_what_was_written(tmp_path: Path, name: str):
    codec = "flv" if name.endswith("flv") else "libx264"
    voice = sine(300, 1.6, 48000)
    clip = write_video(tmp_path / name, 50, codec, voice=voice)
    found = probe(clip, BOTH)
    assert found["video"] == pytest.approx(2.0, abs=0.05)
    assert found["audio"] == pytest.approx(1.6, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
def test_a_header_tells_how_long_a_clip_lasts(tmp_path: Path, name: str):
    codec = "flv" if name.endswith("flv") else "libx264"
    clip = write_video(tmp_path / name, 50, codec, voice=sine(300, 1.6, 48000))
    assert probe_duration(clip) == pytest.approx(2.0, abs=0.05)


def test_a_header_that_cannot_be_read_tells_nothing(tmp_path: Path):
    assert probe_duration(write_sound(tmp_path / "a.wav", sine(300, 1.5, 16000), 16000)) == 1.5
    assert probe_duration(tmp_path / "missing.mp4") is None


@pytest.mark.parametrize(
    "seen, heard, apart",
    [(2.0, 2.0, False), (2.0, 1.7, False), (2.0, 1.5, True), (1.5, 2.0, True), (2.0, 0.0, False)],
)
def test_face_and_voice_are_far_apart_beyond_a_fifth(seen: float, heard: float, apart: bool):
    assert far_apart(seen, heard) is apart


def test_a_sound_lasts_what_was_written(tmp_path: Path):
    path = write_sound(tmp_path / "a.wav", sine(300, 1.5, 16000), 16000)
    assert probe(path, ["audio"]) == {"audio": pytest.approx(1.5)}


def test_what_a_file_lacks_is_said_and_the_rest_measured(tmp_path: Path):
    sound = write_sound(tmp_path / "a.wav", sine(300, 1.5, 16000), 16000)
    assert codes(sound) == {"video": "no_video"}
    assert codes(write_video(tmp_path / "a.mp4")) == {"audio": "no_audio"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.85])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_a_cut_file_is_refused_as_by_those_who_decode_it(tmp_path: Path, name: str, share: float):
    clip = write_video(tmp_path / name, 60, voice=sine(300, 2.4, 48000))
    content = clip.read_bytes()
    clip.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ClipError) as seen:
        sample_frames(clip)
    with pytest.raises(ClipError) as heard:
        read_audio(clip, 16000)
    assert codes(clip) == {"video": seen.value.code, "audio": heard.value.code}


GROWTH = """
import resource, sys
from pathlib import Path
from stages.media.audio import read_audio
from stages.media.probe import probe, probe_utterance
from stages.media.video import sample_frames
from stages.runtime.errors import ClipError
cover, name = Path(sys.argv[1]), sys.argv[1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(read_audio(cover, 16000)) > 15000
probe_utterance(Path(), name, name)
assert probe(cover, ["video"])["video"].code == "no_video"
try:
    sample_frames(cover)
except ClipError as error:
    assert error.code == "no_video"
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize(
    "name, codec", [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac")]
)
def test_a_cover_picture_is_never_decoded(tmp_path: Path, name: str, codec: str):
    sound = write_sound(tmp_path / name, sine(300, 1, 16000), 16000, codec)
    add_cover(sound, 6000)
    with av.open(str(sound)) as container:
        assert container.streams.video[0].codec_context.width == 6000
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(sound)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == "" and float(done.stdout) < 40  # MB; the picture would take 108


def test_a_git_lfs_pointer_is_for_a_person_to_mend(tmp_path: Path):
    (tmp_path / "a.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="git lfs pull"):
        probe(tmp_path / "a.wav", BOTH)


def test_real_clips_last_what_they_decode_to():
    ravdess = corpora() / "ravdess"
    for path in [*sorted(ravdess.rglob("01-*.mp4"))[:2], *sorted(ravdess.rglob("03-*.wav"))[:2]]:
        wave = read_audio(path, 16000)
        assert probe(path, ["audio"])["audio"] == pytest.approx(len(wave) / 16000, abs=0.1)
        if path.suffix == ".mp4":
            assert probe(path, ["video"])["video"] == pytest.approx(sample_frames(path).duration)
