"""Visual features: what the frozen encoder makes of every face.

In:  data/frames/<corpus>.h5
Out: data/features/visual/<corpus>.h5
       ids [N], pooled float32 [N, 3, D], ok bool [N, 3] (frame not missing); where params.yaml's
       augmentation has faces copied, those of copy k of ids[i] follow as row k N + i, so that
       pooled has (K + 1) N
Paper: Section 2, X_v, "visual and acoustic features extracted by the pre-trained ResNet-34".
Run: dvc repro visual_features@<corpus>, or python -m stages.visual_features <corpus>
"""

from collections.abc import Iterator
from itertools import chain

import h5py
import numpy as np

from stages.encoders.face_copies import copied, face_copies
from stages.encoders.frozen import freeze_visual
from stages.extraction.clip_cache import delete_oldest, size_limit, warn_if_open_to_others
from stages.io.arrays import decode_ids, open_arrays, write_arrays
from stages.runtime.command import run_stage
from stages.runtime.params import check_random_weights, read_params
from stages.runtime.paths import features_path, frames_path
from stages.runtime.progress import track
from stages.runtime.space import features_bytes


def crops(frames: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """The id of each clip, and its faces, uint8 [3, S, S, 3]."""
    for i, name in enumerate(decode_ids(frames["ids"][...])):
        yield name, frames["faces"][i]


def main(corpus: str) -> None:
    """Write the visual features of a corpus."""
    params = read_params()
    settings, insist = params.encoders.visual.model_dump(), params.encoders.allow_random_weights
    limit = size_limit()
    warn_if_open_to_others()
    label = f"visual_features@{corpus}"
    augmentation = params.augmentation.model_dump()
    copies = face_copies(augmentation)
    with open_arrays(frames_path(corpus), "frames") as frames:
        ids = frames["ids"][...]
        if len(ids):
            check_random_weights(corpus, "encoders.visual.weights", settings["weights"], insist)
        encoder = freeze_visual(settings, label)
        total = (1 + copies) * len(ids)
        out, expected_bytes = features_path("visual", corpus), features_bytes(3 * total)
        made_with = settings | {"weights_source": encoder.source}
        with write_arrays(out, "visual features", made_with, expected_bytes) as arrays:
            arrays.append("ids", ids)
            if len(ids):
                arrays.append("ok", frames["ok"][...])
            of_copies = (
                (name, copied(faces, augmentation, copy))
                for copy in range(1, copies + 1)
                for name, faces in crops(frames)
            )
            clips = chain(crops(frames), of_copies)
            for rows in track(encoder.encode(clips), total, label, "clips"):
                arrays.append("pooled", rows["values"][None])
    delete_oldest(limit)
    clips_said = f"{len(ids)} clips" + (f" and {copies} augmented copies of each" if copies else "")
    print(f"{label}: the faces of {clips_said} through {settings['name']}, {encoder.source}")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
