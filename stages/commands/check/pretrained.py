"""The published weights that params.yaml asks for: here, or to be fetched.

torch takes seconds to load, and is loaded only where there are weights to look for.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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
)
from stages.runtime.errors import UserError
from stages.runtime.params import check_random_weights


def at_hand(wanted: Wanted) -> bool:
    """Whether the files of all these weights are here."""
    return all(find(*item) for item in wanted)


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
            layer = encoders[modality].get("layer", "last")
            wanted += encoder_weights(modality, name, weights, layer)
            check_random_weights(corpus, f"encoders.{modality}.weights", weights, insist)
            if weights == "random":
                yield Finding(OK, f"encoders.{modality}.name {name}: random weights")
        except UserError as error:
            yield Finding(ERROR, str(error))
    try:
        wanted += system_weights(params["system"], params["finetuned"]["weights"], corpus, insist)
    except UserError as error:
        yield Finding(ERROR, str(error))
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda item: weight_finding(*item), wanted)


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
