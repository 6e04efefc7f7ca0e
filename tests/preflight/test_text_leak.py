"""Corpora of fixed sentences are read only where one insists."""

import pytest

from stages.corpora.registry import READERS
from stages.preflight.text_leak import text_leak
from tests.helpers import user_error

FIXED = {"sample", "ravdess", "savee", "cremad", "enterface", "emodb", "tess"}


@pytest.mark.parametrize("layout", READERS)
def test_a_corpus_of_fixed_sentences_is_refused(layout: str):
    corpus = f"{layout}_small"
    if layout not in FIXED:
        assert not text_leak(corpus, False) and not text_leak(corpus, True)
        return
    said = user_error(text_leak, corpus, False)
    assert said.startswith(f"params.yaml: encoders.linguistic.name: {corpus} has fixed sentences")
    assert said.endswith("allow_text_leak: true to insist")
    assert text_leak(corpus, True)
