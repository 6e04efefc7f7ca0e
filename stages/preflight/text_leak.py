"""Corpora whose sentences were given to the actors: reading them is not recognising an emotion."""

from stages.corpora.registry import layout_of
from stages.runtime.errors import UserError


def text_leak(corpus: str, allowed: bool) -> bool:
    """Whether the speakers of a corpus all say the same few sentences.

    What is said then tells the list or even the emotion (eNTERFACE'05, and in part SAVEE), or
    nothing at all (RAVDESS): either way its score says nothing about other speech.

    Args:
        corpus: which is read by an encoder of text.
        allowed: params.yaml's `allow_text_leak`.

    Raises:
        UserError: they do, and it is not allowed.
    """
    fixed: bool = layout_of(corpus).FIXED_SENTENCES
    if fixed and not allowed:
        raise UserError(
            f"params.yaml: encoders.linguistic.name: {corpus} has fixed sentences, which tell the "
            "list or even the emotion; set none, or allow_text_leak: true to insist"
        )
    return fixed
