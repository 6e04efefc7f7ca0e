"""The embedded corpus: names, counts, streams, determinism, and faces that are found."""

import hashlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stages import sample
from stages.corpora.emotions import CODES
from stages.synthesis import clip, face, voice


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Two speakers and one sentence: 14 clips."""
    folder = tmp_path_factory.mktemp("raw") / "sample"
    sample.make_corpus(folder, speakers=2, sentences=1, seed=0, jobs=2)
    return folder


def decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames [n, height, width, 3] and sound [samples] of a clip."""
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    return np.stack(frames), sound


def middles(path: Path) -> np.ndarray:
    """The frames at the middles of the three equal thirds of a clip."""
    frames, _ = decode(path)
    return frames[[(2 * k + 1) * len(frames) // 6 for k in range(3)]]


def found(image: np.ndarray) -> bool:
    """Whether the Haar cascade's largest face is where faces are drawn, give or take."""
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes = detector.detectMultiScale(gray, 1.1, 5, minSize=(48, 48))
    if len(boxes) == 0:
        return False
    x, y, width, height = max(boxes, key=lambda box: box[2])
    left, top, w, h = face.head_box(face.FACES["F1"], face.Pose())
    across = min(x + width, left + w) - max(x, left)
    down = min(y + height, top + h) - max(y, top)
    shared = max(across, 0) * max(down, 0)
    return bool(shared / (width * height + w * h - shared) >= 0.4)


def test_names_and_counts(corpus):
    assert set(digests(corpus)) == {"README.txt"} | {
        f"{speaker}/{speaker}_{code}_s1.mp4" for speaker in ("F1", "M1") for code in CODES
    }
    assert "synthetic" in (corpus / "README.txt").read_text(encoding="utf-8")
    assert [sample.speaker_name(i) for i in range(5)] == ["F1", "M1", "F2", "M2", "F3"]


def test_the_same_bytes_whatever_the_number_of_processes(corpus, tmp_path):
    sample.make_corpus(tmp_path / "sample", speakers=2, sentences=1, seed=0, jobs=1)
    assert digests(tmp_path / "sample") == digests(corpus)


def test_another_seed_or_sentence_gives_another_clip(tmp_path):
    seeds = {(seed, sentence) for seed in (0, 1) for sentence in (0, 1)}
    made = set()
    for seed, sentence in seeds:
        path = tmp_path / f"{seed}_{sentence}.mp4"
        entropy = np.random.SeedSequence([seed, 0, 0, sentence])
        who, how = sample.speaker(0, seed)
        clip.make_clip(path, who, how, "fear", voice.SENTENCES[0], entropy)
        made.add(path.read_bytes())
    assert len(made) == len(seeds)


def test_the_streams_are_those_of_an_ordinary_camera(corpus):
    for path in corpus.glob("*/*.mp4"):
        with av.open(str(path)) as file:
            video, audio = file.streams.video[0], file.streams.audio[0]
            assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (video.width, video.height, video.average_rate) == (320, 240, 25)
            assert video.codec_context.has_b_frames
            assert (audio.codec_context.name, audio.layout.name) == ("aac", "mono")
            assert audio.rate == voice.SAMPLE_RATE
            assert "creation_time" not in file.metadata
            seconds = [float(stream.duration * stream.time_base) for stream in (video, audio)]
        assert 0.9 < seconds[0] < 3.0
        assert seconds[1] == pytest.approx(seconds[0], abs=1024 / voice.SAMPLE_RATE)
        frames, sound = decode(path)
        assert len(frames) / clip.FPS == pytest.approx(seconds[0])
        assert np.isfinite(sound).all() and np.abs(sound).max() < 1


def test_a_detector_finds_the_faces(corpus):
    images = [image for path in sorted(corpus.glob("*/*.mp4")) for image in middles(path)]
    assert np.mean([found(image) for image in images]) >= 0.95


def test_a_detector_finds_the_faces_of_the_whole_corpus(tmp_path):
    sample.make_corpus(tmp_path / "sample", speakers=4, sentences=6, seed=0, jobs=2)
    paths = sorted((tmp_path / "sample").glob("*/*.mp4"))
    assert len(paths) == 4 * 7 * 6
    assert sum(path.stat().st_size for path in paths) < 10_000_000
    assert np.mean([found(image) for path in paths for image in middles(path)]) >= 0.98


def test_the_mouth_follows_the_voice(corpus):
    """What shows between the lips, in decoded frames, follows the decoded voice."""
    frames, sound = decode(corpus / "M1" / "M1_NE_s1.mp4")
    opening = clip.loudness(sound[: len(frames) * clip.SAMPLES_PER_FRAME])
    mouths = frames[:, 130:185, 125:195].astype(int)
    inside = (mouths[..., 1] < 50) | (mouths[..., 2] > 185)  # the dark and the teeth
    assert np.corrcoef(opening, inside.sum(axis=(1, 2)))[0, 1] > 0.6


def test_mouth_opening_follows_loudness_with_every_emotion():
    opening = np.abs(np.sin(np.linspace(0, 9, 50)))
    for i, expression in enumerate(face.EXPRESSIONS.values()):
        track = clip.animate(expression, opening, np.random.default_rng(i))
        drawn = [face.mouth_opening(units) for units, _ in track[10:]]
        assert np.corrcoef(opening[10:], drawn)[0, 1] > 0.9


def test_loudness_is_one_at_the_loudest_and_nothing_in_silence():
    speech = np.zeros(4 * clip.SAMPLES_PER_FRAME, np.float32)
    speech[clip.SAMPLES_PER_FRAME : 2 * clip.SAMPLES_PER_FRAME] = 0.5
    speech[2 * clip.SAMPLES_PER_FRAME : 3 * clip.SAMPLES_PER_FRAME] = 0.5 * 10 ** (-15 / 20)
    assert clip.loudness(speech) == pytest.approx([0, 1, 0.5, 0])


def test_no_two_speakers_are_alike():
    speakers = [sample.speaker(i, seed=0) for i in range(16)]
    assert len({who for who, _ in speakers}) == len({how for _, how in speakers}) == 16


def test_no_two_sentences_are_alike():
    assert len({sample.sentence(i, seed=0) for i in range(30)}) == 30


def test_a_failure_leaves_the_old_corpus_and_nothing_else(tmp_path, monkeypatch):
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "old.mp4").write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(sample, "make_clip", fail)
    with pytest.raises(OSError, match="no space"):
        sample.make_corpus(folder, speakers=2, sentences=1, seed=1, jobs=1)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "sample",
        "sample/old.mp4",
    ]
