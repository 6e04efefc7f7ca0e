"""A result in words: the scores, what they are of, and cautions.

`details` is the content of metrics/details.json everywhere here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.corpora.emotions import EMOTIONS


def headline(details: Mapping[str, Any]) -> str:
    """UAR with its interval, WAR and w-F1 in one line."""
    low, high = (details["ci95"]["uar_by_utterance"][end] for end in ("low", "high"))
    return (
        f"UAR {details['uar']:.3f} [{low:.3f}, {high:.3f}], WAR {details['war']:.3f} "
        f"({round(details['n_correct'], 1):g} of {details['n_test']}), w-F1 {details['w_f1']:.3f}"
    )


def tested_corpus(details: Mapping[str, Any]) -> str:
    """The corpus of the test utterances."""
    return details.get("test") or details["acoustic"]


def circumstances(details: Mapping[str, Any]) -> str:
    """System, corpora, classes, protocol, seeds and encoders of a result in one line."""
    acoustic = details["acoustic"]
    visual = [corpus for corpus in details["visual"] if corpus != details.get("test")]
    faces = "" if visual in ([acoustic], []) else f" with faces of {', '.join(visual)}"
    corpora = f"on {acoustic}{faces}"
    if "test" in details:
        corpora = f"trained {corpora}, tested on {details['test']}"
    share = details.get("train_share", 1)
    less = f"{100 * share:g} % of the training speakers, " if share < 1 else ""
    n_seeds, n_folds = details["n_seeds"], details["n_folds"]
    return (
        f"{details['system']} {corpora}, {less}{classes_in_words(details)}"
        f"protocol {details['protocol']}, "
        f"{n_folds} fold{'s'[: n_folds != 1]}, "
        f"{f'mean of {n_seeds} seeds' if n_seeds > 1 else 'one seed'}, "
        f"{encoders_in_words(details['encoders'])}{told_by_in_words(details['test_modalities'])}"
    )


def told_by_in_words(modalities: Sequence[str]) -> str:
    """By what utterances were told at test where that is not the voice alone, to stand behind."""
    shown = {"acoustic": "voice", "visual": "faces", "linguistic": "text"}
    if list(modalities) == ["acoustic"]:
        return ""
    return f", told by {' and '.join(shown[name] for name in modalities)}"


def classes_in_words(details: Mapping[str, Any]) -> str:
    """The classes of a result where they are not all emotions, to stand before something else."""
    classes = details["classes"]
    return f"{len(classes)} classes ({', '.join(classes)}), " * (len(classes) < len(EMOTIONS))


def encoders_in_words(encoders: Mapping[str, Mapping[str, Any]]) -> str:
    """The encoders of a result, by modality, with their weights: once where they are the same."""
    called = {
        modality: of["name"] + (f" with {of['weights']} weights" if "weights" in of else "")
        for modality, of in encoders.items()
    }
    if not called:
        return "no frozen encoder"
    if len(set(called.values())) == 1:
        return called.popitem()[1]
    shown = {"visual": "faces", "acoustic": "voices", "linguistic": "texts"}
    return ", ".join(f"{text} for {shown[modality]}" for modality, text in called.items())


def cautions(details: Mapping[str, Any]) -> list[str]:
    """What a reader must know before taking the scores for more than they are, worst first."""
    found = []
    corpora = [details["acoustic"], tested_corpus(details), *details["visual"]]
    if any(name.split("_")[0] == "sample" for name in corpora):
        found.append(
            "The sample is synthetic: its scores show that the pipeline works, and nothing else."
        )
    encoders = details["encoders"]
    random = [name for name, of in encoders.items() if of.get("weights") == "random"]
    if random:
        which = "" if len(random) == len(encoders) else f"{random[0]} "
        found.append(
            f"The {which}encoder has random weights: it was never trained on faces or sounds."
        )
    if details["labels_shuffled"]:
        found.append("The labels are shuffled: this is what chance gives.")
    if details["n_test_with_trained_face"]:
        found.append(
            f"The faces of {details['n_test_with_trained_face']} of the {details['n_test']} test "
            f"utterances were trained on, as protocol {details['protocol']} has it."
        )
    if details["text_leak"]:
        found.append(
            "The sentences of the corpus are fixed: they tell the list or even the emotion."
        )
    if details["n_test_with_trained_text"]:
        found.append(
            f"{details['n_test_with_trained_text']} test utterances say word for word what a "
            "training utterance says, and are told more easily."
        )
    if details["n_test_with_suspected_copy"]:
        found.append(
            f"{details['n_test_with_suspected_copy']} test utterances sound like one that was "
            "learned from, encoded anew (data/split.json names the pairs)."
        )
    if details["skipped_unevenly"]:
        found.append("Some emotions were skipped far more often than others (see below).")
    return found
