"""A result in words, from what evaluate writes: the scores, and what they are of."""

from collections.abc import Mapping
from typing import Any


def headline(test: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """UAR with its interval, WAR and w-F1 in one line.

    Args:
        test: content of metrics/test.json.
        details: content of metrics/details.json.
    """
    return (
        f"UAR {test['uar']:.3f} [{test['uar_low']:.3f}, {test['uar_high']:.3f}], "
        f"WAR {test['war']:.3f} ({round(details['n_correct'], 1):g} of {test['n_test']}), "
        f"w-F1 {test['w_f1']:.3f}"
    )


def circumstances(details: Mapping[str, Any]) -> str:
    """Corpora, protocol, seeds and encoder of a result in one line."""
    acoustic, visual = details["acoustic"], details["visual"]
    faces = "" if visual in ([acoustic], []) else f" with faces of {', '.join(visual)}"
    n_seeds, n_folds = details["n_seeds"], details["n_folds"]
    return (
        f"{acoustic}{faces}, protocol {details['protocol']}, "
        f"{n_folds} fold{'s'[: n_folds != 1]}, "
        f"{f'mean of {n_seeds} seeds' if n_seeds > 1 else 'one seed'}, "
        f"{details['backbone']} with {details['weights']} weights"
    )
