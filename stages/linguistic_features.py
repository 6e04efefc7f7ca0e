"""Linguistic features: what the frozen encoder makes of what is said.

In:  data/transcripts/<corpus>.csv
Out: data/features/linguistic/<corpus>.h5, of the utterances of which a text is known; without
     rows where `encoders.linguistic.name` is none
       ids [N], pooled float32 [N, D], the mean over a text's tokens; with `sequences: true` also
       values float16 [sum T, D], offsets int64 [N + 1]: the tokens of ids[i] are
       values[offsets[i]:offsets[i + 1]]
Paper: none; the rivals of its Table 2 that read text, and systems that learn from words.
Run: dvc repro linguistic_features@<corpus>, or python -m stages.linguistic_features <corpus>
"""

from collections.abc import Iterator

import numpy as np

from stages.corpora.utterance import first_five
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import features_path, transcripts_path
from stages.runtime.progress import track
from stages.runtime.space import features_bytes


def main(corpus: str) -> None:
    """Write the linguistic features of a corpus."""
    params = read_params()
    settings = params.encoders.linguistic.model_dump()
    label, out = f"linguistic_features@{corpus}", features_path("linguistic", corpus)
    rows = read_table(transcripts_path(corpus), ["id", "text", "source"])
    if settings["name"] == "none":
        with write_arrays(out, "linguistic features", settings, 0) as arrays:
            arrays.append("ids", encode_ids([]))
        print(f"{label}: no text is read (encoders.linguistic.name: none)")
        return
    # Here, for these load torch, which takes seconds.
    from stages.encoders.frozen import freeze_linguistic
    from stages.extraction.clip_cache import delete_oldest, size_limit, warn_if_open_to_others

    limit = size_limit()
    warn_if_open_to_others()
    frozen, encoder = freeze_linguistic(settings, label)
    made_with = settings | {
        "weights_source": encoder.source,
        "text": ", ".join(sorted({row["source"] for row in rows})),
    }
    cut: list[str] = []

    def tokens() -> Iterator[tuple[str, np.ndarray]]:
        for row in rows:
            ids, more = encoder.tokenize(row["text"])
            cut.extend([row["id"]] * (more > 0))
            yield row["id"], ids

    end = 0
    with write_arrays(out, "linguistic features", made_with, features_bytes(len(rows))) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in rows]))
        if settings["sequences"]:
            arrays.append("offsets", np.array([0]))
        for found in track(frozen.encode(tokens()), len(rows), label, "texts"):
            arrays.append("pooled", found["values"])
            if settings["sequences"]:
                end += len(found["sequence"])
                arrays.append("values", found["sequence"])
                arrays.append("offsets", np.array([end]))
    delete_oldest(limit)
    print(
        f"{label}: the texts of {len(rows)} utterances through {settings['name']}, "
        f"{encoder.source}, {encoder.licence}"
    )
    if cut:
        print(
            f"{label}: warning: {settings['name']} cannot read them to their ends, {len(cut)} "
            f"texts, which are cut: {first_five(cut)}"
        )


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
