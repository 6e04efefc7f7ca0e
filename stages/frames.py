"""Frames: the faces V1 V2 V3 of every clip, uniformly sampled and cropped.

In:  data/manifest/<corpus>.csv, data/raw/<corpus>/
Out: data/frames/<corpus>.h5
       ids [N], faces uint8 [N, 3, S, S, 3] RGB, ok bool [N, 3] (false: leave this frame out, as V2
       and V3 of a picture are),
       status [N, 3] (index into crops.STATUS), boxes [N, 3, 5] (x1 y1 x2 y2 in pixels of the frame,
       score), certainty [N, 3] (the score as a share), jumps [N, 3] (from the face in the frame
       before, in widths of a face), times [N, 3] in seconds, found [N, 3] (faces found)
     data/skipped/<corpus>.frames.csv
Paper: Section 3.2, "the video frames are uniformly sampled in {V1, V2, V3}".
Run: dvc repro frames@<corpus>, or python -m stages.frames <corpus>
"""

from contextlib import closing

import numpy as np

from stages.extraction.extract import extract
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.media.crops import CROPS, JUMP, STATUS, clip_faces, ready_to_crop
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import frames_path, manifest_path
from stages.runtime.space import frames_bytes


def main(corpus: str) -> None:
    """Write the crops of a corpus."""
    params = read_params()
    limit, workers = params.max_skip_fraction, params.workers
    settings = params.frames.model_dump()
    columns = ["id", "emotion", "video", "start", "end", "whole", "crop"]
    utterances = read_table(manifest_path(corpus), columns)
    work = ready_to_crop(settings)
    results = extract(utterances, "video", clip_faces, work, corpus, "frames", limit, workers)
    ids: list[str] = []
    tally = np.zeros(len(STATUS), int)
    jumping = 0
    expected_bytes = frames_bytes(CROPS * len(utterances), settings["size"])
    file = write_arrays(frames_path(corpus), "frames", settings, expected_bytes)
    with closing(results) as clips, file as arrays:
        for row, clip in clips:
            ids.append(row["id"])
            for name, values in clip.items():
                arrays.append(name, values[None])
            tally += np.bincount(clip["status"], minlength=len(STATUS))
            jumping += bool((clip["jumps"] > JUMP).any())
        arrays.append("ids", encode_ids(ids))
    counts = ", ".join(f"{n} {name}" for n, name in zip(tally, STATUS) if n and name != "absent")
    jumps = f"in {jumping} clips the face jumps by more than its width"
    print(f"frames@{corpus}: {len(ids)} clips; frames: {counts or 'none'}; {jumps}")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
