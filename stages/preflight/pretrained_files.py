"""The published weights that params.yaml asks for: in torch.hub's cache, or to be fetched.

torch takes seconds to load, and is loaded only where there are weights to look for.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.request import Request, urlopen

from stages.encoders.weights import checkpoint_path
from stages.runtime.errors import UserError, one_line

REPLY_SECONDS = 5.0
Wanted = list[tuple[str, str]]  # a setting and its value, and where its weights are published


def frame_weights(detector: str, align: bool) -> Wanted:
    """What the stage frames needs."""
    if detector == "haar" and not align:
        return []
    from stages.media.faces import aligner_url, detector_urls

    wanted = [(f"frames.detector {detector}", url) for url in detector_urls(detector)]
    return wanted + ([("frames.align", aligner_url())] if align else [])


def backbone_weights(backbone: str, weights: str) -> Wanted:
    """What the stage features needs.

    Raises:
        UserError: there is no such backbone, or no such weights of it.
    """
    from stages.encoders.pictures import imagenet_weights, require_model

    if weights == "random":
        require_model(backbone)
        return []
    return [(f"features.backbone {backbone}", imagenet_weights(backbone).url)]


def weight_problems(wanted: Iterable[tuple[str, str]]) -> list[str]:
    """Which of these weights are not in the cache and cannot be fetched, a line each.

    Prints what the stages will fetch.
    """

    def look(item: tuple[str, str]) -> str | None:
        try:
            require_reply(*item)
        except UserError as error:
            return str(error)
        return None

    absent = [(what, url) for what, url in wanted if not checkpoint_path(url).exists()]
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(look, absent))
    for (what, url), problem in zip(absent, found):
        if problem is None:
            print(f"{what}: not in the cache; will be fetched from {url} to {checkpoint_path(url)}")
    return [problem for problem in found if problem is not None]


def require_reply(what: str, url: str) -> int:
    """The bytes of weights that are not in the cache, as their server says; 0 where it does not.

    Raises:
        UserError: nothing answers.
    """
    try:
        request = Request(url, headers={"User-Agent": "torch.hub"})
        with urlopen(request, timeout=REPLY_SECONDS) as reply:
            return int(reply.headers.get("Content-Length") or 0)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"params.yaml: {what}: not in the cache, and {url} cannot be fetched "
            f"({one_line(error)[:200]}); fetch it where there is a network and put it at "
            f"{checkpoint_path(url)}"
        ) from error
