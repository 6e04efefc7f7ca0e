"""The stage linguistic_features: what is said, through an encoder that stands for a real one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import linguistic_features
from stages.encoders import huggingface_text
from stages.encoders.huggingface_text import TextEncoder, Tokens
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import write_table
from stages.runtime.paths import features_path, transcripts_path
from stages.transcripts import COLUMNS
from tests.helpers import user_error, write_params

TEXTS = {"meld/a": "no", "meld/b": "yes indeed", "meld/c": "three words only"}
PATH = features_path("linguistic", "meld")
LIMIT = 15  # letters


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_texts(TEXTS)
    choose("some/model")


def write_texts(texts: dict[str, str]) -> None:
    rows = [{"id": name, "text": text, "source": "corpus"} for name, text in texts.items()]
    write_table(transcripts_path("meld"), COLUMNS, rows)


def choose(name: str, **settings: Any) -> None:
    write_params(Path(), encoders={"linguistic": {"name": name, **settings}})


def letters(text: str) -> Tokens:
    """A token a letter."""
    ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    return Tokens(ids[:LIMIT], max(0, len(ids) - LIMIT))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was encoded, each letter as the vector (its number, 1 / its number)."""
    seen: list[bytes] = []

    def encode(ids: np.ndarray) -> np.ndarray:
        seen.append(bytes(ids.tolist()))
        return np.stack([ids, 1 / ids], axis=1).astype(np.float32)

    stand_in(monkeypatch, encode)
    return seen


def stand_in(monkeypatch: pytest.MonkeyPatch, encode: Callable[[np.ndarray], np.ndarray]) -> None:
    encoder = TextEncoder("nowhere", "MIT", 2, letters, encode)
    monkeypatch.setattr(huggingface_text, "load", lambda settings, device: encoder)


def read() -> dict[str, np.ndarray]:
    with open_arrays(PATH, "linguistic features") as file:
        return {name: array[...] for name, array in file.items()}


def expected(text: str) -> np.ndarray:
    ids = letters(text).ids
    return np.stack([ids, 1 / ids], axis=1).astype(np.float32)


def test_a_row_is_the_mean_over_the_tokens_of_a_text(encoded: list[bytes]):
    linguistic_features.main("meld")
    found = read()
    assert decode_ids(found["ids"]) == list(TEXTS) and set(found) == {"ids", "pooled"}
    for row, text in zip(found["pooled"], TEXTS.values(), strict=True):
        np.testing.assert_allclose(row, expected(text).mean(0), rtol=1e-6)
    with open_arrays(PATH, "linguistic features") as file:
        settings = read_settings(file)
    assert settings["weights_source"] == "nowhere" and settings["text"] == "corpus"


def test_sequences_are_kept_where_they_are_asked_for(encoded: list[bytes]):
    linguistic_features.main("meld")
    pooled = read()["pooled"]
    choose("some/model", sequences=True)
    linguistic_features.main("meld")
    found = read()
    assert found["pooled"].tobytes() == pooled.tobytes()
    assert found["values"].dtype == np.float16
    ends = np.cumsum([0, *(len(letters(text).ids) for text in TEXTS.values())])
    assert found["offsets"].tolist() == ends.tolist()
    for start, end, text in zip(ends[:-1], ends[1:], TEXTS.values(), strict=True):
        np.testing.assert_array_equal(found["values"][start:end], expected(text).astype(np.float16))


def test_no_text_is_encoded_twice_and_the_bytes_are_the_same(encoded: list[bytes]):
    linguistic_features.main("meld")
    first = PATH.read_bytes()
    linguistic_features.main("meld")
    assert PATH.read_bytes() == first and len(encoded) == len(TEXTS)
    write_texts(TEXTS | {"meld/d": "new"})
    linguistic_features.main("meld")
    assert encoded[-1] == b"new" and len(encoded) == len(TEXTS) + 1
    choose("some/model", layer=1)
    linguistic_features.main("meld")
    assert len(encoded) == 2 * len(TEXTS) + 2


def test_a_text_that_is_cut_is_named(encoded: list[bytes], capsys: pytest.CaptureFixture[str]):
    linguistic_features.main("meld")
    said = capsys.readouterr().out
    assert (
        "warning: some/model cannot read them to their ends, 1 texts, which are cut: meld/c" in said
    )
    assert encoded[2] == b"three words onl"


@pytest.mark.parametrize("sequences", [False, True])
def test_without_an_encoder_or_a_text_there_are_no_rows(encoded: list[bytes], sequences: bool):
    choose("none", sequences=sequences)
    linguistic_features.main("meld")
    assert decode_ids(read()["ids"]) == []
    write_texts({})
    choose("some/model", sequences=sequences)
    linguistic_features.main("meld")
    assert decode_ids(read()["ids"]) == [] and encoded == []


@pytest.mark.parametrize("value", [np.nan, 1e5])
def test_what_does_not_fit_a_number_of_16_bits_is_one_line(
    value: float, monkeypatch: pytest.MonkeyPatch
):
    stand_in(monkeypatch, lambda ids: np.full((len(ids), 2), value, np.float32))
    choose("some/model", sequences=True)
    said = user_error(linguistic_features.main, "meld")
    assert "some/model gives values that are not finite" in said and not PATH.exists()
