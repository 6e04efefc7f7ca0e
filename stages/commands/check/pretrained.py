"""The published weights that params.yaml asks for: in torch.hub's cache, or to be fetched.

torch takes seconds to load, and is loaded only where there are weights to look for.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stages.commands.check.findings import ERROR, OK, WARNING, Finding, amount
from stages.preflight.pretrained_files import backbone_weights, frame_weights, require_reply
from stages.runtime.errors import UserError
from stages.runtime.params import check_random_weights


def at_hand(wanted: list[tuple[str, str]]) -> bool:
    """Whether the files of all these weights are in the cache."""
    if not wanted:
        return True
    from stages.encoders.weights import checkpoint_path

    return all(checkpoint_path(url).exists() for _, url in wanted)


def weight_findings(
    corpus: str, frames: Mapping[str, Any], features: Mapping[str, Any]
) -> Iterator[Finding]:
    """Whether the weights that params.yaml asks for are there."""
    if frames["detector"] == "haar":
        text = "frames.detector haar: part of OpenCV"
        if corpus.split("_")[0] != "sample":
            text += "; yunet misses fewer faces (stages/corpora/README.md, Faces)"
        yield Finding(OK, text)
    wanted = frame_weights(frames["detector"], frames["align"])
    try:
        wanted += backbone_weights(features["backbone"], features["weights"])
        if features["weights"] == "random":
            check_random_weights(corpus, "random", features["allow_random_weights"])
            yield Finding(OK, f"features.backbone {features['backbone']}: random weights")
    except UserError as error:
        yield Finding(ERROR, str(error))
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda item: weight_finding(*item), wanted)


def weight_finding(what: str, url: str) -> Finding:
    """Whether one file of weights is there or can be fetched."""
    from stages.encoders.weights import checkpoint_path, sha256_prefix_ok

    path = checkpoint_path(url)
    if path.exists():
        if sha256_prefix_ok(path):
            return Finding(OK, f"{what}: {path}")
        return Finding(
            WARNING,  # the stages, too, warn of it and go on
            f"{what}: {path} has another SHA-256 than its name says: it is damaged, or holds "
            f"other weights than {url}",
        )
    try:
        size = amount(require_reply(what, url))
    except UserError as error:
        return Finding(ERROR, str(error))
    text = f"{what}: not in the cache; will be fetched from {url} ({size}) to {path}"
    return Finding(WARNING, text)
