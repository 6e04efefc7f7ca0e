"""Plan: the manifests list what the protocol in params.yaml needs.

In:  data/manifest/ of the corpora in `visual`, `acoustic` and `test`
Out: data/checked/plan.json, always the same
Paper: Section 3.2.
Run: dvc repro plan, or python -m stages.plan

frames and mels stand on the output: what split would refuse after hours of decoding is refused
before. Which clips cannot be used and which are copies is known only after that.
"""

from stages.io.files import write_json
from stages.preflight.division import Division, division_problems
from stages.runtime.command import run_stage
from stages.runtime.errors import UserError
from stages.runtime.params import read_params
from stages.runtime.paths import PLAN_CHECKED
from stages.splits.samples import read_manifest


def main() -> None:
    """Make the roles of what the manifests list, and say in a file that they can be made."""
    params = read_params()
    division = Division(
        visual=params.visual,
        acoustic=params.acoustic,
        test=params.test,
        acoustic_only=params.acoustic_only,
        protocol=params.protocol,
        folds=params.folds,
        train_share=params.train_share,
        validation=params.validation,
        duplicates=params.duplicates,
        shuffle_labels=params.shuffle_labels,
        classes=params.classes,
        allow_missing_classes=params.allow_missing_classes,
        seed=params.seed,
        selection=params.selection,
        inference=params.inference,
        cross_attention=params.cross_attention,
        system=params.system,
        test_modalities=params.test_modalities,
    )
    listed = {corpus: read_manifest(corpus) for corpus in [*division.visual, *division.heard]}
    if problems := division_problems(division, listed):
        raise UserError("\n".join(problems))
    write_json(PLAN_CHECKED, {"protocol": "can be carried out"})


if __name__ == "__main__":
    run_stage(main, __doc__)
