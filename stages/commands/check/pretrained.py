"""The published weights that params.yaml asks for: here, or to be fetched.

torch takes seconds to load, and is loaded only where there are weights to look for.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stages.commands.check.findings import ERROR, OK, WARNING, Finding, amount
from stages.encoders.weights import Packaged, Published, checkpoint_path, sha256_prefix_ok
from stages.preflight.pretrained_files import (
    Wanted,
    encoder_weights,
    find,
    frame_weights,
    require_reply,
    system_weights,
    text_weights,
)
from stages.preflight.text_leak import text_leak
from stages.runtime.errors import UserError
from stages.runtime.params import check_random_weights

OF_SPEECH = ("layer", "sequences")  # settings that not every encoder has


def at_hand(wanted: Wanted, name: str = "") -> bool:
    """Whether the files of all these weights are here.

    Args:
        name: of an encoder; whether that is in Hugging Face's cache or a folder, where it has a /.
    """
    return all(find(*item) for item in wanted) and ("/" not in name or _is_local(name))


def _is_local(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache  # takes a second

    return Path(name).is_dir() or isinstance(try_to_load_from_cache(name, "config.json"), str)


def weight_findings(
    corpus: str, params: Mapping[str, Any], modalities: Iterable[str]
) -> Iterator[Finding]:
    """Whether the weights that params.yaml asks for are there.

    Args:
        modalities: those of which the corpus has clips.
    """
    frames, encoders = params["frames"], params["encoders"]
    insist = encoders["allow_random_weights"]
    if frames["detector"] == "haar":
        text = "frames.detector haar: part of OpenCV"
        if corpus.split("_")[0] != "sample":
            text += "; yunet misses fewer faces (stages/corpora/README.md, Faces)"
        yield Finding(OK, text)
    wanted = frame_weights(frames["detector"], frames["align"])
    for modality in modalities:
        name, weights = encoders[modality]["name"], encoders[modality]["weights"]
        try:
            own = {key: of for key, of in encoders[modality].items() if key in OF_SPEECH}
            wanted += encoder_weights(modality, name, weights, **own)
            check_random_weights(corpus, f"encoders.{modality}.weights", weights, insist)
            if weights == "random":
                yield Finding(OK, f"encoders.{modality}.name {name}: random weights")
            yield from _of_hugging_face(modality, name)
        except UserError as error:
            yield Finding(ERROR, str(error))
    try:
        wanted += system_weights(params["system"], params["finetuned"]["weights"], corpus, insist)
    except UserError as error:
        yield Finding(ERROR, str(error))
    name, layer = encoders["linguistic"]["name"], encoders["linguistic"]["layer"]
    try:
        wanted += text_weights(params["text"], name, layer)
        if name != "none" and corpus == params["acoustic"]:
            text_leak(corpus, params["allow_text_leak"])
        yield from _of_hugging_face("linguistic", name)
    except UserError as error:
        yield Finding(ERROR, str(error))
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda item: weight_finding(*item), wanted)


def _of_hugging_face(modality: str, name: str) -> Iterator[Finding]:
    """Whether a model of Hugging Face is here, of which only transformers knows the files."""
    if "/" in name:
        what = f"encoders.{modality}.name {name}"
        if _is_local(name):
            yield Finding(OK, f"{what}: in its folder, or in Hugging Face's cache")
        else:
            yield Finding(WARNING, f"{what}: will be fetched from https://huggingface.co/{name}")


def weight_finding(what: str, source: Published | Packaged) -> Finding:
    """Whether one file of weights is there or can be fetched."""
    try:
        path = find(what, source)
        if isinstance(source, Packaged):
            return Finding(OK, f"{what}: {path}")
        if path is None:
            size, place = amount(require_reply(what, source)), checkpoint_path(source.url)
            text = f"not in the cache; will be fetched from {source.url} ({size}) to {place}"
            return Finding(WARNING, f"{what}: {text}")
    except UserError as error:
        return Finding(ERROR, str(error))
    if sha256_prefix_ok(path):
        return Finding(OK, f"{what}: {path}")
    return Finding(
        WARNING,  # the stages, too, warn of it and go on
        f"{what}: {path} has another SHA-256 than its name says: it is damaged, or holds other "
        f"weights than {source.url}",
    )
