"""What the report says in words: what is kept apart, and which code and settings it is of."""

import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from stages.splits.protocols import SENTENCE_DISJOINT, SPEAKER_DISJOINT

PAIRS = 5  # suspected copies that are named
# What decides over a result, beside the corpora. Texts do not.
CODE = ("dvc.yaml", "params.yaml", "requirements.txt", "stages", ":(exclude,glob)stages/**/*.md")


class Revision(NamedTuple):
    """The code and settings of the working tree.

    Attributes:
        commit: that changed them last, "" where git does not tell.
        changed: files that differ from it.
    """

    commit: str
    changed: list[str]


def read_revision() -> Revision:
    """Ask git.

    It is not HEAD: that changes with each commit of results and texts, the commit of this very page
    among them, and the same code, settings and clips would give another page in each clone.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments, "--", *CODE]
        done = subprocess.run(command, capture_output=True, check=True)
        return done.stdout.decode("utf-8", "replace")

    try:
        commit = git("log", "-1", "--format=%H").strip()
        changed = git("status", "--porcelain", "--no-renames", "-z").split("\0")
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository of ours
        return Revision("", [])
    return Revision(commit, sorted(line[3:] for line in changed if line))


def leak_statements(details: Mapping[str, Any], split: Mapping[str, Any]) -> list[str]:
    """What no model has learned from, and what it has, a sentence or two each.

    Args:
        details: metrics/details.json.
        split: data/split.json.
    """
    protocol, folds, tested = details["protocol"], details["n_folds"], details["n_test"]
    said = [
        "Every test utterance is tested once, by models that have neither learned from nor chosen "
        "their epoch by its voice, or a copy of it, or an utterance cut from the same speech "
        f"(protocol {protocol}, {folds} fold{'s'[: folds != 1]})."
    ]
    if "test" in details:
        said.append(
            f"All that was learned is of another corpus: trained on {details['acoustic']}, tested "
            f"on {details['test']}."
        )
    elif protocol in SPEAKER_DISJOINT:
        said.append("No test speaker is among the training speakers.")
    elif protocol == "official":
        said.append("The division is the publisher's own: speakers and sentences may be in both.")
    else:
        said.append("Other utterances of the test speakers may be trained on.")
    if "test" in details:
        said.append("That sentences of both have the same words is not looked at.")
    elif protocol in SENTENCE_DISJOINT:
        said.append("No test sentence is among the training sentences.")
    elif protocol != "official":
        said.append("The test sentences may be trained on, said by others or in another emotion.")
    faces = details["n_test_with_trained_face"]
    if faces:
        said.append(
            f"The faces of {faces} of the {tested} test utterances were trained on, but are not "
            "what any of these attends to at test."
        )
    elif details["visual"]:
        said.append("No face of a test utterance was trained on.")
    if details["selection"] != "last":
        said.append(
            "Epochs were chosen on speakers who neither train nor are tested."
            if split["validated_by"] == "speaker"
            else "Epochs were chosen on utterances that are neither trained on nor tested; their "
            "speakers may be."
        )
    said.append(
        "split, train and evaluate each checked this in every fold and for every inference bank, "
        "by recording (copies are found by features that are the same to the bit, and count as "
        "what they are copies of), by the times of utterances that overlap, and by the speakers "
        "and sentences that the protocol keeps apart. Any leak stops the pipeline."
    )
    copies = details["n_duplicates"]
    said.append(
        f"{copies} recording{'s were' if copies != 1 else ' was'} left out as a copy of another."
        if copies
        else "No recording was left out as a copy of another."
    )
    pairs = split["suspected_copies"]
    if pairs:
        named = "; ".join(f"{one} and {other}" for one, other in pairs[:PAIRS])
        more = f"; and {len(pairs) - PAIRS} more in data/split.json" if len(pairs) > PAIRS else ""
        said.append(
            f"{len(pairs)} pairs sound like one recording encoded anew, which is not checked "
            f"further: {named}{more}. Of {details['n_test_with_suspected_copy']} test utterances "
            "the other was learned from."
        )
    else:
        said.append("No two utterances sound like one recording encoded anew.")
    return said
