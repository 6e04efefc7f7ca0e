"""Copies that were encoded anew are found by their sound, and other takes are not."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from stages import split
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_json
from stages.media.audio import read_audio
from stages.media.spectrogram import clip_mel
from stages.runtime.paths import mels_path
from stages.splits.suspects import suspected_copies
from stages.splits.suspects import tested_with_suspected_copy as count_suspected
from tests.feature_files import PARAMS, Rows, utterances, write_corpus, write_params
from tests.media_files import corpora

TAKES = 16
CODECS = [
    ("libmp3lame", "mp3", 44100, 48), ("libmp3lame", "mp3", 16000, 48),
    ("libmp3lame", "mp3", 48000, 128), ("aac", "m4a", 44100, 48), ("aac", "m4a", 16000, 48),
    ("aac", "m4a", 48000, 128), ("pcm_s16le", "wav", 8000, 128), ("pcm_s16le", "wav", 22050, 128),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def takes() -> list[Path]:
    """Two sentences, said by one speaker in several emotions."""
    found = sorted(corpora().glob("ravdess/Audio_Speech_Actors_01-24/Actor_01/*.wav"))[:TAKES]
    if len(found) < TAKES:
        pytest.skip(f"no RAVDESS in {corpora()}; set FDAN_CORPORA")
    return found


@pytest.fixture(scope="module")
def originals(takes: list[Path]) -> list[np.ndarray]:
    return [clip_mel(path, **PARAMS["mels"]).values for path in takes]


def encode(source: Path, target: Path, codec: str, rate: int, kilobits: int) -> Path:
    wave = read_audio(source, rate)
    with av.open(str(target), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono", bit_rate=kilobits * 1000)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        for part in [*resampler.resample(frame), None]:
            file.mux(stream.encode(part))
    return target


def write_mels(corpus: str, named: dict[str, np.ndarray]) -> None:
    with write_arrays(mels_path(corpus), "mels", PARAMS["mels"], 0) as arrays:
        for mel in named.values():
            arrays.append("values", mel)
        arrays.append("ids", encode_ids(list(named)))
        arrays.append("offsets", np.cumsum([0, *map(len, named.values())]))


@pytest.mark.parametrize("codec, suffix, rate, kilobits", CODECS)
def test_every_take_is_suspected_to_be_its_copy_and_no_other(
    codec: str, suffix: str, rate: int, kilobits: int,
    takes: list[Path], originals: list[np.ndarray], tmp_path: Path,
):  # fmt: skip
    copies = {}
    for i, take in enumerate(takes):
        path = encode(take, tmp_path / f"{i}.{suffix}", codec, rate, kilobits)
        copies[f"folder/{i:02}"] = clip_mel(path, **PARAMS["mels"]).values
    write_mels("folder", copies)
    write_mels("ravdess", {f"ravdess/{i:02}": mel for i, mel in enumerate(originals)})
    ids = {f"{corpus}/{i:02}" for i in range(TAKES) for corpus in ("folder", "ravdess")}
    expected = [(f"folder/{i:02}", f"ravdess/{i:02}") for i in range(TAKES)]
    assert suspected_copies(["folder", "ravdess"], ids) == expected
    assert suspected_copies(["folder", "ravdess"], ids - {"folder/03"}) == [
        pair for pair in expected if pair[0] != "folder/03"
    ]


def test_variants_of_a_corpus_and_what_is_too_short_are_not_suspected(
    originals: list[np.ndarray],
):
    write_mels("ravdess", {"ravdess/a": originals[0], "ravdess/b": originals[1][:40]})
    write_mels("ravdess_x", {"ravdess_x/a": originals[0], "ravdess_x/c": originals[1][:40]})
    names = {"ravdess/a", "ravdess/b", "ravdess_x/a", "ravdess_x/c"}
    assert suspected_copies(["ravdess", "ravdess_x"], names) == []


def test_a_corpus_without_voices_has_no_suspects():
    assert suspected_copies(["sample"], {"sample/a"}) == []


def roles(**of: str) -> Iterator[dict[str, str]]:
    for name, role in of.items():
        modality = "visual" if name.startswith("face") else "acoustic"
        yield {"modality": modality, "id": name, "fold_0": role}


def test_test_utterances_with_a_suspected_copy_in_training_are_counted():
    rows = [*roles(a="test", b="train", c="test", d="out", e="test", f="validation", face="train")]
    pairs = [("a", "b"), ("c", "d"), ("f", "e"), ("a", "face")]
    assert count_suspected(rows, pairs, 1) == 2
    assert count_suspected(rows, [("face", "c")], 1) == 1
    assert count_suspected(rows, [], 1) == 0


def with_features(rows: Rows) -> list[str]:
    corpus = rows[0]["id"].split("/")[0]
    of = {"corpora": [corpus], "visual": [corpus], "acoustic": corpus}
    write_params(Path(), protocol="speaker", folds=4, **of)
    write_corpus(Path(), corpus, rows)
    return [row["id"] for row in rows]


def test_split_warns_of_suspects_by_name_and_counts_them(
    originals: list[np.ndarray], capsys: pytest.CaptureFixture[str]
):
    ids = with_features(utterances("ravdess"))
    # Other speakers, one of whom is tested while the other is learned from, in two folds.
    noisy = originals[0] + np.random.default_rng(0).normal(0, 1, originals[0].shape)
    mels = {ids[0]: originals[0], ids[-1]: noisy.astype(np.float32), ids[1]: originals[1]}
    write_mels("ravdess", dict(sorted(mels.items())))
    split.main()
    found = read_json(Path("data/split.json"))
    assert found["suspected_copies"] == [[ids[0], ids[-1]]]
    assert found["n_test_with_suspected_copy"] == 2
    assert f"1 pairs sound like one recording encoded twice, of 2 test utterances one is learned " \
        f"from: {ids[0]} and {ids[-1]}" in capsys.readouterr().out  # fmt: skip
