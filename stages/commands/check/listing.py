"""The layout of a corpus: what there is, what is missing, and what params.yaml says of it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stages.commands.check.findings import FINE, KNOW, MEND, Finding, listed
from stages.corpora.listing import named, skipped_rows, summary
from stages.corpora.utterance import Listing
from stages.io.skips import too_many


def listing_findings(corpus: str, listing: Listing, params: Mapping[str, Any]) -> Iterator[Finding]:
    """What there is, what is missing, and whether params.yaml names the corpus."""
    counts, *others = summary(listing)
    yield Finding(FINE, counts)
    codes = Counter(code for _, code, _ in listing.excluded)
    if codes:
        yield Finding(FINE, f"left out by rule: {listed(codes)}")
    for line in others:
        yield Finding(KNOW, line)
    largest, total = params["max_skip_fraction"], named(listing)
    if too_many(skipped_rows(listing), total, largest):
        yield Finding(
            MEND,
            f"{len(listing.missing)} of {total} utterances are missing, more than "
            f"max_skip_fraction={largest:g}: the stage manifest would stop; put the files there, "
            "or raise max_skip_fraction",
        )
    to_train = ["visual:", f"  - {corpus}", f"acoustic: {corpus}"]
    if corpus not in params["corpora"]:
        corpora = [f"  - {name}" for name in [*params["corpora"], corpus]]
        text = "params.yaml does not name it yet; write there"
        yield Finding(KNOW, text, ["corpora:", *corpora, *to_train])
    elif corpus not in [*params["visual"], params["acoustic"]]:
        text = "params.yaml extracts it and does not train on it; to do so, write there"
        yield Finding(KNOW, text, to_train)
