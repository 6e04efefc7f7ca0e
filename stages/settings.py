"""Settings: all of params.yaml is right, and can be carried out with the corpora that there are.

In:  params.yaml; of each of its corpora the names in data/raw/<corpus>/, or, where only what was
     made of it is here, data/manifest/<corpus>.csv; torch.hub's cache; dvc.lock
Out: data/checked/settings.json, always the same
Run: dvc repro settings, or python -m stages.settings

All other stages stand on the output, so that this one runs before them and none runs again for it:
DVC deletes the outputs of a stage before the stage can refuse a setting. Everything that is wrong
is named, a line each. What depends on what the manifests say is checked again by the stage plan,
which also runs when a corpus changes and params.yaml does not.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.corpora.listing import list_corpus
from stages.io.files import write_json
from stages.preflight.division import Division, division_problems
from stages.preflight.pretrained_files import backbone_weights, frame_weights, weight_problems
from stages.runtime.command import run_stage
from stages.runtime.device import check_precision, pick_device
from stages.runtime.errors import UserError
from stages.runtime.params import Params, Section, check_random_weights, examine, read_tree
from stages.runtime.paths import RAW, SETTINGS_CHECKED, features_path, manifest_path
from stages.splits.protocols import Rows
from stages.splits.samples import read_manifest

LOCK = Path("dvc.lock")


def has(section: Section, *keys: str) -> bool:
    """Whether these settings are there and right."""
    return section.model_fields_set >= set(keys)


def list_utterances(corpus: str, params: Params) -> Rows | None:
    """The rows of a corpus' manifest, as the stage manifest would make it now.

    None of the embedded sample where it is not there as params.yaml has it: the stage sample will
    make it.

    Raises:
        UserError: neither the corpus nor its manifest is there, or they cannot be read.
    """
    root = RAW / corpus
    if not root.is_dir() and (corpus == "sample" or manifest_path(corpus).exists()):
        return read_manifest(corpus) if manifest_path(corpus).exists() else None
    utterances = sorted(list_corpus(root, corpus).utterances, key=lambda item: item.id)
    if corpus == "sample":
        speakers, sentences = (
            {getattr(item, key) for item in utterances} for key in ("speaker", "sentence")
        )
        made = {"speakers": len(speakers), "sentences": len(sentences)}
        if not made.items() <= vars(params.sample).items():
            return None
    return [asdict(item) for item in utterances]


def corpus_problems(params: Params) -> Iterator[str]:
    """Why the corpora cannot be read, or be divided as params.yaml has it."""
    listed: dict[str, Rows | None] = {}
    for corpus in params.corpora:
        try:
            listed[corpus] = list_utterances(corpus, params)
        except UserError as error:
            yield str(error)
    if not has(params, *Division._fields):
        return
    division = Division(*(getattr(params, key) for key in Division._fields))
    chosen = {corpus: listed.get(corpus) for corpus in [*division.visual, division.acoustic]}
    rows = {corpus: found for corpus, found in chosen.items() if found is not None}
    if len(rows) == len(chosen):
        yield from division_problems(division, rows)


def network_problems(params: Params, tree: Any) -> Iterator[str]:
    """Why the networks that have still to be applied cannot be."""
    features, frames = params.features, params.frames
    if has(features, "weights", "allow_random_weights"):
        for corpus in params.corpora:
            try:
                check_random_weights(corpus, features.weights, features.allow_random_weights)
            except UserError as error:
                yield str(error)
    lock = read_tree(LOCK) if LOCK.exists() else {}

    def to_make(stage: str) -> bool:
        return any(
            not features_path(corpus).exists()
            or _locked(lock, f"{stage}@{corpus}").get(stage) != tree[stage]
            for corpus in params.corpora
        )

    wanted = []
    if has(frames, "detector", "align") and to_make("frames"):
        wanted += frame_weights(frames.detector, frames.align)
    if has(features, "precision") and features.precision == "bf16" and to_make("features"):
        try:
            check_precision("bf16", pick_device())
        except UserError as error:
            yield str(error)
    if has(features, "backbone", "weights") and to_make("features"):
        try:
            wanted += backbone_weights(features.backbone, features.weights)
        except UserError as error:
            yield str(error)
    if wanted:
        yield from weight_problems(wanted)


def _locked(lock: dict[str, Any], stage: str) -> dict[str, Any]:
    """The params that a stage has run with, by dvc.lock."""
    return lock.get("stages", {}).get(stage, {}).get("params", {}).get("params.yaml", {})


def main() -> None:
    """Check everything, and say so in a file."""
    tree = read_tree()
    params, problems = examine(tree)
    if has(params, "corpora"):
        problems += [*network_problems(params, tree), *corpus_problems(params)]
    if problems:
        raise UserError("\n".join(problems))
    write_json(SETTINGS_CHECKED, {"params.yaml": "can be carried out"})


if __name__ == "__main__":
    run_stage(main, __doc__)
