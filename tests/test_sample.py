"""The embedded corpus: names, streams, same bytes, faces that are found, emotions to be learnt."""

import hashlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.signal import spectrogram
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages import sample
from stages.corpora.emotions import CODES
from stages.media.audio import read_audio
from stages.media.faces import choose_faces, crop_face, make_detector
from stages.media.video import sample_frames
from stages.synthesis import clip, voice
from tests.helpers import write_params


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


def crops(path: Path) -> list[np.ndarray]:
    """The faces that the frames stage finds in V1 V2 V3, by the settings of params.yaml."""
    frames = sample_frames(path, 3).images
    boxes = choose_faces(make_detector("haar", 0.06, "cpu")(frames), "haar")
    return [crop_face(f, box, 0.2, 64) for f, box in zip(frames, boxes) if box is not None]


def test_names_and_counts(corpus):
    assert set(digests(corpus)) == {"README.txt"} | {
        f"{speaker}/{speaker}_{code}_s1.mp4" for speaker in ("F1", "M1") for code in CODES
    }
    assert "no person was recorded" in (corpus / "README.txt").read_text(encoding="utf-8")


def test_the_same_bytes_whatever_the_number_of_processes(corpus, tmp_path):
    sample.make_corpus(tmp_path / "sample", speakers=2, sentences=1, seed=0, jobs=1)
    assert digests(tmp_path / "sample") == digests(corpus)


def test_another_seed_speaker_or_sentence_gives_another_clip(tmp_path):
    made = set()
    for who, what, seed in [(0, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1)]:
        clip.make_clip(tmp_path / "clip.mp4", who, "fear", what, seed)
        made.add((tmp_path / "clip.mp4").read_bytes())
    assert len(made) == 4


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
            assert sum(1 for _ in file.decode(video=0)) == pytest.approx(seconds[0] * 25)
        assert 0.8 < seconds[0] < 3.0
        assert seconds[1] == pytest.approx(seconds[0], abs=1024 / voice.SAMPLE_RATE)
        sound = read_audio(path, voice.SAMPLE_RATE)
        assert np.isfinite(sound).all() and np.abs(sound).max() < 1


def test_a_detector_finds_the_faces(corpus):
    paths = sorted(corpus.glob("*/*.mp4"))
    assert sum(len(crops(path)) for path in paths) >= 0.98 * 3 * len(paths)


def test_the_mouth_follows_the_voice(corpus):
    """What is dark between the lips, in decoded frames, follows the decoded voice's loudness."""
    path = corpus / "M1" / "M1_NE_s1.mp4"
    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    sound = read_audio(path, voice.SAMPLE_RATE)[: len(frames) * clip.SAMPLES_PER_FRAME]
    power = np.mean(sound.reshape(len(frames), -1) ** 2, axis=1)
    loudness = np.maximum(10 * np.log10(power / power.max()), -30)
    dark = (frames[:, 130:185, 125:195, 1] < 50).sum(axis=(1, 2))
    assert np.corrcoef(loudness, dark)[0, 1] > 0.6


@pytest.mark.long
def test_the_whole_corpus_is_small_found_and_learnable(tmp_path):
    """Neither modality tells all, and shuffled labels are at chance, which is 1/7."""
    sample.make_corpus(tmp_path / "sample", speakers=4, sentences=6, seed=0)
    paths = sorted((tmp_path / "sample").glob("*/*.mp4"))
    assert len(paths) == 4 * 7 * 6
    assert sum(path.stat().st_size for path in paths) < 10_000_000
    faces, voices, found = [], [], 0
    for path in paths:
        crop = crops(path)
        found += len(crop)
        small = [cv2.cvtColor(c, cv2.COLOR_RGB2GRAY) for c in crop] or [np.zeros((64, 64))]
        faces.append(cv2.resize(np.mean(small, axis=0), (32, 32)).ravel())
        hertz, _, power = spectrogram(read_audio(path, 16_000), 16_000, nperseg=512)
        decibels = 10 * np.log10(power[(hertz > 80) & (hertz < 6000)] + 1e-10)
        voices.append(np.concatenate([decibels.mean(axis=1), decibels.std(axis=1)]))
    assert found >= 0.98 * 3 * len(paths)

    emotions = np.array([path.stem.split("_")[1] for path in paths])
    shuffled = np.random.default_rng(0).permutation(emotions)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    for modality in (faces, voices):
        assert 0.5 < cross_val_score(model, modality, emotions).mean() < 0.98
        assert cross_val_score(model, modality, shuffled).mean() < 0.3


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


@pytest.mark.parametrize("corpora", [["savee"], ["savee", "sample"]])
def test_it_is_made_where_it_is_asked_for(tmp_path, monkeypatch, corpora):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, corpora=corpora, visual=["savee"], acoustic="savee")
    made = []
    monkeypatch.setattr(sample, "make_corpus", lambda folder, **_: made.append(folder))
    sample.main()
    assert len(made) == ("sample" in corpora)
    names = [path.name for path in tmp_path.rglob("*.txt")]
    assert names == ([] if made else ["README.txt"])
