"""t-SNE of both modalities before and after the adaptation. Paper: Section 3.6, Fig. 5.

In:  models/replicas.safetensors, models/replicas.json, data/split.csv, data/split.json, and the
     data/features/<modality>/<corpus>.h5 that it names
Out: metrics/tsne.csv   panel, modality, role, emotion, id, x, y; without rows for a system that
                        makes no features of its own

"before" are the standardised features of the frozen encoders, "after" what the classifier sees,
Z^l of Eq. (4), of the first replica (fold 0, first seed). Of each modality and role at most `LIMIT`
samples are drawn, with the classes balanced; the paper draws a fifth of MELD. The acoustic test
samples show what of the picture is not mere memory.

Run: dvc repro tsne, or python -m stages.tsne
"""

import numpy as np
import torch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from stages.corpora.emotions import EMOTIONS
from stages.fdan.batches import make_generator
from stages.fdan.inference import SpeechClassifier, draw_bank
from stages.io.files import write_table
from stages.runtime.command import run_stage
from stages.runtime.paths import METRICS
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.leaks import check_leaks
from stages.splits.protocols import TEST, TRAIN
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import Samples

LIMIT = 300
COLUMNS = ["panel", "modality", "role", "emotion", "id", "x", "y"]
PERPLEXITY = 30  # of van der Maaten & Hinton 2008, less where there are few samples


def draw(x: np.ndarray, y: np.ndarray, ids: list[str]) -> tuple[Samples, list[str]]:
    """At most LIMIT samples, class-balanced, always the same."""
    chosen = draw_bank(torch.from_numpy(y), LIMIT, make_generator(0, 0)).numpy()
    samples = Samples(torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen]))
    return samples, [ids[i] for i in chosen]


def embed(x: np.ndarray) -> np.ndarray:
    """t-SNE of samples [n, D] in the plane, [n, 2], each axis scaled to [-1, 1]."""
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    with threadpool_limits(1):  # the same threads, the same bytes
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(x)
    return plane / np.abs(plane).max(0).clip(min=1e-12)


def main() -> None:
    """Embed the samples of the first replica before and after the adaptation."""
    torch.set_num_threads(1)
    split, rows = read_split()
    check_leaks(rows, split["protocol"], split["folds"], split["validated_by"])
    features, description = Features(split["features_sha256"]), read_description()
    fold, _, classifier = next(read_replicas(description))
    if not isinstance(classifier, SpeechClassifier):
        write_table(METRICS / "tsne.csv", COLUMNS, [])
        print(f"tsne: {description['system']} makes no features of its own to show")
        return

    parts = []  # modality, role, samples, ids
    for role in (TRAIN, TEST):
        found = features.acoustic_samples(select_rows(rows, "acoustic", fold, role))
        parts.append(("acoustic", role, *draw(*found)))
    if not description["settings"]["network"]["acoustic_only"]:
        found = features.visual_samples(select_rows(rows, "visual", fold, TRAIN))
        parts.append(("visual", TRAIN, *draw(*found)))

    before, after = [], []
    for modality, _, samples, _ in parts:
        if modality == "acoustic":
            before.append((samples.x - classifier.acoustic_mean) / classifier.acoustic_std)
            after.append(classifier.embed_acoustic(samples.x))
        else:
            before.append((samples.x - classifier.visual_mean) / classifier.visual_std)
            after.append(classifier.embed_visual(samples.x))
    table = []
    for panel, values in [("before adaptation", before), ("after adaptation", after)]:
        points = iter(embed(torch.cat(values).numpy()).tolist())
        for modality, role, samples, ids in parts:
            for name, label in zip(ids, samples.y.tolist()):
                x, y = next(points)
                table.append(
                    {
                        "panel": panel,
                        "modality": modality,
                        "role": role,
                        "emotion": EMOTIONS[label],
                        "id": name,
                        "x": f"{x:.4f}",
                        "y": f"{y:.4f}",
                    }
                )
    write_table(METRICS / "tsne.csv", COLUMNS, table)
    print(f"tsne: {len(table) // 2} samples of fold {fold} before and after the adaptation")


if __name__ == "__main__":
    run_stage(main, __doc__)
