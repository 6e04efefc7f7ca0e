"""Model: the system trained on all utterances, as a bundle that is applied to new clips.

In:  data/split.csv, data/split.json, the data/features/<modality>/<corpus>.h5 that it names,
     models/replicas.safetensors, models/replicas.json, metrics/details.json
Out: models/bundle/model.safetensors, models/bundle/model.json (stages/recognition/bundle.py)
Paper: as train; the paper does not say what one would apply to a clip of one's own.

Where another corpus is tested than the one that trains (`test` of params.yaml) nothing is learned
of it here, either: all utterances are those of the corpora that train.

Nobody can test a model on what it was trained on. So nothing is chosen here: the epochs are the
median of those that the validation parts of the folds chose, as is what another system chooses. Its
scores are not known either: those of the folds, which saw less, are in the bundle.

Run: dvc repro model, or python -m stages.model
"""

from stages.corpora.registry import layout_of
from stages.io.files import read_json
from stages.recognition.bundle import final_name, fingerprint, write_bundle
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import BUNDLE, METRICS
from stages.splits.dataset import Features, read_split
from stages.splits.protocols import SAME_RECORDING, TEST, TRAIN, Rows, corpus_of, marks
from stages.systems.checkpoint import read_description, read_replicas, replica_name
from stages.systems.contract import ACOUSTIC, MELS, Task
from stages.systems.named import SYSTEMS


def learnable(rows: Rows, test: str) -> Rows:
    """The rows without the corpus `test`, if one is, and without copies of what is tested of it."""
    if not test:
        return rows
    tested = {mark for row in rows if row["fold_0"] == TEST for mark in marks(row, SAME_RECORDING)}
    return [
        row
        for row in rows
        if corpus_of(row["id"]) != test and tested.isdisjoint(marks(row, SAME_RECORDING))
    ]


def main() -> None:
    """Train once a seed on all utterances, and write the bundle."""
    params = read_params()
    split, rows = read_split()
    features = Features(split["features_sha256"])
    description = read_description()
    details = read_json(METRICS / "details.json")
    system = SYSTEMS[description["system"]]
    settings = system.settle(description["settings"], list(description["chosen"].values()))
    everyone = [row | {"fold_0": TRAIN} for row in learnable(rows, split["test"])]
    balance = params.class_balance
    task = Task(features, everyone, split["protocol"], settings, class_balance=balance)
    finals = system.train_all(task, 1, description["seeds"], "model")
    states = {final_name(one.seed): one.state for one in finals}
    for fold, seed, classifier in read_replicas(description):
        states[replica_name(fold, seed)] = {
            name: value
            for name, value in classifier.state_dict().items()
            if value.is_floating_point()  # batch normalisation counts batches, too
        }

    modalities = system.modalities(settings)
    heard = [view for view in system.views(settings) if view in (ACOUSTIC, MELS)]
    used = [row for row in everyone if row["modality"] in modalities]
    visual = [corpus for corpus in details["visual"] if corpus != split["test"]]
    spoken = [row for row in used if row["modality"] == "acoustic"]
    shared = {"system", "folds", "seeds", "settings", "dims"}
    write_bundle(
        BUNDLE,
        states,
        {key: description[key] for key in shared}
        | {
            "frames": params.frames.model_dump(),
            "mels": params.mels.model_dump(),
            "encoders": params.encoders.model_dump(),
            "sources": {name: of["weights_source"] for name, of in details["encoders"].items()},
            "chosen": finals[0].chosen,
            "temperature": details["calibration"].get("temperature"),
            "data": {
                "acoustic": split["acoustic"],
                "visual": visual,
                "utterances": len(spoken),
                "faces": len(used) - len(spoken),
                "speakers": len({row["speaker"] for row in used}),
                "licences": {
                    corpus: layout_of(corpus).LICENCE for corpus in [split["acoustic"], *visual]
                },
            },
            "result": details,
            "trained_on": sorted(
                fingerprint(features.views(row["id"], heard, system.sequences)) for row in spoken
            ),
        },
    )
    chosen = "".join(f", {name} {value:g}" for name, value in finals[0].chosen.items())
    print(
        f"model: {description['system']}, {len(finals)} seeds{chosen}, on all {len(spoken)} "
        f"utterances, and the {len(states) - len(finals)} replicas of the folds"
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
