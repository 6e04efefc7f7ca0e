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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.corpora.listing import list_corpus
from stages.io.files import write_json
from stages.preflight.division import COLUMN, Division, division_problems
from stages.preflight.pretrained_files import (
    Wanted,
    encoder_weights,
    frame_weights,
    system_weights,
    text_weights,
    weight_problems,
)
from stages.preflight.text_leak import text_leak
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


def list_all(params: Params) -> tuple[dict[str, Rows | None], list[str]]:
    """What `list_utterances` gives of each corpus, and why the others cannot be read."""
    listed, problems = {}, []
    for corpus in params.corpora:
        try:
            listed[corpus] = list_utterances(corpus, params)
        except UserError as error:
            problems.append(str(error))
    return listed, problems


def split_problems(params: Params, listed: Mapping[str, Rows | None]) -> Iterator[str]:
    """Why the corpora cannot be divided as params.yaml has it."""
    if not has(params, *Division._fields):
        return
    division = Division(*(getattr(params, key) for key in Division._fields))
    if division.test == division.acoustic:
        return  # `examine` says so
    chosen = {corpus: listed.get(corpus) for corpus in [*division.visual, *division.heard]}
    rows = {corpus: found for corpus, found in chosen.items() if found is not None}
    if len(rows) == len(chosen):
        yield from division_problems(division, rows)


def network_problems(params: Params, tree: Any, listed: Mapping[str, Rows | None]) -> Iterator[str]:
    """Why the networks that have still to be applied cannot be."""
    frames, encoders = params.frames, params.encoders
    lock = read_tree(LOCK) if LOCK.exists() else {}

    def to_make(modality: str, stage: str, settings: Any, key: str) -> bool:
        copying = {"acoustic_features": "mels"}.get(stage, stage)  # the stage that makes copies
        copies = tree.get("augmentation")
        return any(
            not features_path(modality, corpus).exists()
            or _locked(lock, f"{stage}@{corpus}").get(key) != settings
            or _locked(lock, f"{copying}@{corpus}").get("augmentation", copies) != copies
            for corpus in params.corpora
        )

    wanted: Wanted = []
    if has(frames, "detector", "align") and to_make("visual", "frames", tree["frames"], "frames"):
        wanted += frame_weights(frames.detector, frames.align)
    for modality, encoder in (("visual", encoders.visual), ("acoustic", encoders.acoustic)):
        key, stage = f"encoders.{modality}", f"{modality}_features"
        if has(encoders, "allow_random_weights") and has(encoder, "weights"):
            for corpus in params.corpora:
                rows = listed.get(corpus)
                if rows is not None and not any(row[COLUMN[modality]] for row in rows):
                    continue  # it has no clips of which there would be features
                try:
                    insist = encoders.allow_random_weights
                    check_random_weights(corpus, f"{key}.weights", encoder.weights, insist)
                except UserError as error:
                    yield str(error)
        if not encoder.model_fields_set:
            continue
        if not to_make(modality, stage, tree["encoders"][modality], key):
            continue
        try:
            if has(encoder, "precision") and encoder.precision == "bf16":
                check_precision("bf16", pick_device(), f"{key}.precision")
        except UserError as error:
            yield str(error)
        try:
            if has(encoder, "name", "weights"):
                own = {
                    key: getattr(encoder, key)
                    for key in ("layer", "sequences")
                    if hasattr(encoder, key)
                }
                wanted += encoder_weights(modality, encoder.name, encoder.weights, **own)
        except UserError as error:
            yield str(error)
    if has(params, "system", "acoustic") and has(params.finetuned, "weights"):
        insist = has(encoders, "allow_random_weights") and encoders.allow_random_weights
        weights = params.finetuned.weights
        try:
            wanted += system_weights(params.system, weights, params.acoustic, insist)
        except UserError as error:
            yield str(error)
    try:
        if has(params, "acoustic", "allow_text_leak") and has(encoders.linguistic, "name"):
            heard = [params.acoustic, params.test] if has(params, "test") else [params.acoustic]
            for corpus in filter(None, heard):
                if encoders.linguistic.name != "none":
                    text_leak(corpus, params.allow_text_leak)
    except UserError as error:
        yield str(error)
    try:
        wanted += _text_weights(params, tree, to_make)
    except UserError as error:
        yield str(error)
    if wanted:
        yield from weight_problems(wanted)


def _text_weights(params: Params, tree: Any, to_make: Callable[..., bool]) -> Wanted:
    """Of what hears and reads texts, where there is something to be heard or read."""
    encoder, key = params.encoders.linguistic, "encoders.linguistic"
    text, name = "corpus", "none"
    layer: int | str = "last"
    if has(params, "text") and to_make("linguistic", "transcripts", params.text, "text"):
        text = params.text
    if has(encoder, "name", "layer", "sequences") and to_make(
        "linguistic", "linguistic_features", tree["encoders"]["linguistic"], key
    ):
        name, layer = encoder.name, encoder.layer
    return text_weights(text, name, layer)


def _locked(lock: dict[str, Any], stage: str) -> dict[str, Any]:
    """The params that a stage has run with, by dvc.lock."""
    return lock.get("stages", {}).get(stage, {}).get("params", {}).get("params.yaml", {})


def main() -> None:
    """Check everything, and say so in a file."""
    tree = read_tree()
    params, problems = examine(tree)
    if has(params, "corpora"):
        listed, unreadable = list_all(params)
        problems += [*network_problems(params, tree, listed), *unreadable]
        problems += split_problems(params, listed)
    if problems:
        raise UserError("\n".join(problems))
    write_json(SETTINGS_CHECKED, {"params.yaml": "can be carried out"})


if __name__ == "__main__":
    run_stage(main, __doc__)
