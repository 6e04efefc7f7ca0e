"""Model: FDAN trained on all utterances, as a bundle that is applied to new clips.

In:  data/split.csv, data/split.json, the data/features/<modality>/<corpus>.h5 that it names,
     models/fdan.safetensors, models/fdan.json, metrics/details.json
Out: models/bundle/model.safetensors, models/bundle/model.json (stages/recognition/bundle.py)
Paper: as train; the paper does not say what one would apply to a clip of one's own.

Nobody can test a model on what it was trained on. So the epochs are not chosen here: they are the
median of those that the validation parts of the folds chose. Its scores are not known either: those
of the folds, which saw less, are in the bundle.

Run: dvc repro model, or python -m stages.model
"""

from dataclasses import replace

import numpy as np

from stages.corpora.registry import licence_of
from stages.fdan.checkpoint import read_description, read_replicas, replica_name
from stages.fdan.replicas import Task, train_all
from stages.fdan.training import Settings
from stages.io.files import read_json
from stages.recognition.bundle import final_name, fingerprint, write_bundle
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import BUNDLE, METRICS
from stages.splits.dataset import Features, read_split
from stages.splits.protocols import TRAIN


def main() -> None:
    """Train once a seed on all utterances, and write the bundle."""
    params = read_params()
    split, rows = read_split()
    features = Features(split["features_sha256"])
    description = read_description()
    details = read_json(METRICS / "details.json")
    epochs = int(np.median(list(description["epochs"].values())))
    settings = replace(
        Settings(**description["settings"]), epochs=epochs, select="last", patience=0
    )
    everyone = [row | {"fold_0": TRAIN} for row in rows]
    task = Task(features, everyone, split["protocol"], settings, description["inference"])
    finals = train_all(task, 1, description["seeds"], "model")
    states = {final_name(one.seed): one.state for one in finals}
    for fold, seed, classifier in read_replicas(description):
        states[replica_name(fold, seed)] = classifier.state_dict()

    spoken = [row for row in rows if row["modality"] == "acoustic"]
    shared = {"folds", "seeds", "inference", "settings", "visual_dim", "acoustic_dim"}
    write_bundle(
        BUNDLE,
        states,
        {key: description[key] for key in shared}
        | {
            "frames": params.frames.model_dump(),
            "mels": params.mels.model_dump(),
            "encoders": params.encoders.model_dump(),
            "sources": {name: of["weights_source"] for name, of in split["encoders"].items()},
            "epochs": epochs,
            "temperature": details["calibration"].get("temperature"),
            "data": {
                "acoustic": split["acoustic"],
                "visual": split["visual"],
                "utterances": len(spoken),
                "faces": len(rows) - len(spoken),
                "speakers": len({row["speaker"] for row in rows}),
                "licences": {
                    corpus: licence_of(corpus) for corpus in [split["acoustic"], *split["visual"]]
                },
            },
            "result": details,
            "trained_on": sorted(fingerprint(features.acoustic[row["id"]]) for row in spoken),
        },
    )
    print(
        f"model: {len(finals)} seeds, {epochs} epochs on all {len(spoken)} utterances, and the "
        f"{len(states) - len(finals)} replicas of the folds"
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
