"""Transcripts: what is said in every utterance.

In:  data/manifest/<corpus>.csv; for `text: asr` data/mels/<corpus>.h5 and data/raw/<corpus>/
Out: data/transcripts/<corpus>.csv, a row an utterance of which a text is known
       id, text, source: "corpus", or "asr:" and the name of what has heard it
Paper: none; the rivals of its Table 2 that read text, and systems that learn from words.
Run: dvc repro transcripts@<corpus>, or python -m stages.transcripts <corpus>

With `text: asr` every voice that has a spectrogram is heard.
"""

from contextlib import closing

from stages.extraction.clip_cache import delete_oldest, size_limit, warn_if_open_to_others
from stages.io.arrays import decode_ids, open_arrays
from stages.io.files import read_table, write_table
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import manifest_path, mels_path, transcripts_path
from stages.runtime.progress import track

COLUMNS = ["id", "text", "source"]


def heard(corpus: str, label: str, workers: str) -> dict[str, str]:
    """What Whisper hears in each clip that has a spectrogram, by id."""
    # Here, for these load torch, which takes seconds.
    from stages.encoders.speech import SAMPLE_RATE
    from stages.encoders.transcription import transcribe
    from stages.extraction.waveforms import waveforms

    limit = size_limit()
    warn_if_open_to_others()
    with open_arrays(mels_path(corpus), "mels") as mels:
        ids = decode_ids(mels["ids"][...])
        with closing(waveforms(mels, corpus, SAMPLE_RATE, workers)) as clips:
            texts = dict(zip(ids, track(transcribe(clips), len(ids), label, "clips"), strict=True))
    delete_oldest(limit)
    return texts


def main(corpus: str) -> None:
    """Write what is said in a corpus."""
    params = read_params()
    label, source = f"transcripts@{corpus}", str(params.text)
    utterances = read_table(manifest_path(corpus), ["id", "audio", "text"])
    if source == "corpus":
        texts = {row["id"]: " ".join(row["text"].split()) for row in utterances}
    else:
        from stages.encoders.whisper import NAME

        texts, source = heard(corpus, label, params.workers), f"asr:{NAME}"
    rows = [
        {"id": row["id"], "text": texts[row["id"]], "source": source}
        for row in utterances
        if texts.get(row["id"])
    ]
    write_table(transcripts_path(corpus), COLUMNS, rows)
    print(f"{label}: {len(rows)} of {len(utterances)} utterances have a text ({source})")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
