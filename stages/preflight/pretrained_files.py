"""The published weights that params.yaml asks for: here, or to be fetched.

torch takes seconds to load, and is loaded only where there are weights to look for.
"""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import get_args
from urllib.request import Request, urlopen

from stages.encoders.weights import Packaged, Published, checkpoint_path
from stages.runtime.errors import UserError, one_line
from stages.runtime.params import FineTunedNetwork, check_random_weights

REPLY_SECONDS = 5.0
# A setting and its value, and where its weights come from.
Wanted = list[tuple[str, Published | Packaged]]


def frame_weights(detector: str, align: bool) -> Wanted:
    """What the stage frames needs."""
    if detector == "haar" and not align:
        return []
    from stages.media.faces import aligner_url, detector_urls

    wanted = [(f"frames.detector {detector}", url) for url in detector_urls(detector)]
    wanted += [("frames.align", aligner_url())] if align else []
    return [(what, Published(url)) for what, url in wanted]


def encoder_weights(
    modality: str, name: str, weights: str, layer: int | str = "last", sequences: bool = False
) -> Wanted:
    """What the stage of a modality's features needs.

    Raises:
        UserError: there is no such encoder, or no such weights, layer or sequence of it.
    """
    from stages.encoders.by_name import check_layer, check_sequences, published

    found = published(modality, name, weights)
    check_layer(name, layer)
    check_sequences(name, sequences)
    return [] if found is None else [(f"encoders.{modality}.name {name}", found)]


def system_weights(system: str, weights: str, corpus: str, insist: bool) -> Wanted:
    """What a system that begins with published weights needs to learn from a corpus.

    Args:
        weights: of `finetuned`.
        insist: on random weights for any corpus.

    Raises:
        UserError: it begins with random weights, and the corpus is real.
    """
    if system not in get_args(FineTunedNetwork):
        return []
    check_random_weights(corpus, "finetuned.weights", weights, insist)
    from stages.encoders.by_name import pictures_module

    found = pictures_module(system).published(system, weights)
    return [] if found is None else [(f"system {system}", found)]


def text_weights(text: str, name: str, layer: int | str) -> Wanted:
    """What the stages transcripts and linguistic_features need.

    Args:
        text: params.yaml's `text`.
        name, layer: of `encoders.linguistic`.

    Raises:
        UserError: a package is not installed, or there is no such layer.
    """
    wanted: Wanted = []
    if text == "asr":
        from stages.encoders import transcription, whisper

        transcription.require_packages()
        wanted.append(("text asr", whisper.WEIGHTS))
    if name != "none":
        from stages.encoders.by_name import published_text

        found = published_text(name, layer)
        wanted += [] if found is None else [(f"encoders.linguistic.name {name}", found)]
    return wanted


def weight_problems(wanted: Wanted) -> list[str]:
    """Which of these weights are not here and cannot be fetched, a line each.

    Prints what the stages will fetch.
    """

    def look(item: tuple[str, Published | Packaged]) -> str | None:
        try:
            what, source = item
            path = find(what, source)
            if path is None and isinstance(source, Published):
                require_reply(what, source)
                place = checkpoint_path(source.url)
                print(f"{what}: not in the cache; will be fetched from {source.url} to {place}")
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as threads:
        return [problem for problem in threads.map(look, wanted) if problem is not None]


def find(what: str, source: Published | Packaged) -> Path | None:
    """The file of weights; None where it is not in the cache.

    Raises:
        UserError: the package that holds it is not installed, or its file is another.
    """
    if isinstance(source, Packaged):
        try:
            return source.path()
        except UserError as error:
            raise UserError(f"params.yaml: {what}: {error}") from error
    path = checkpoint_path(source.url)
    return path if path.exists() else None


def require_reply(what: str, source: Published) -> int:
    """The bytes of weights that are not in the cache, as their server says; 0 where it does not.

    Raises:
        UserError: nothing answers.
    """
    url = source.url
    try:
        request = Request(url, headers={"User-Agent": "torch.hub"})
        with urlopen(request, timeout=REPLY_SECONDS) as reply:
            return int(reply.headers.get("Content-Length") or 0)
    except (OSError, HTTPException, ValueError) as error:
        size = f"({source.n_bytes / 1e6:.0f} MB) " if source.n_bytes else ""
        raise UserError(
            f"params.yaml: {what}: not in the cache, and {url} cannot be fetched "
            f"({one_line(error)[:200]}); fetch it {size}where there is a network and put it at "
            f"{checkpoint_path(url)}"
        ) from error
