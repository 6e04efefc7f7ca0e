"""Where files lie, relative to the root of the project; dvc.yaml names the same."""

from pathlib import Path

RAW = Path("data/raw")  # a folder for each corpus
SETTINGS_CHECKED = Path("data/checked/settings.json")
PLAN_CHECKED = Path("data/checked/plan.json")
FRAMES = Path("data/frames")
MELS = Path("data/mels")
FEATURES = Path("data/features")
SPLIT = Path("data/split.csv")
SPLIT_SUMMARY = Path("data/split.json")
MODEL = Path("models/replicas.safetensors")  # of every fold and seed
DESCRIPTION = Path("models/replicas.json")  # of it
BUNDLE = Path("models/bundle")  # what is applied to new clips
CONTENTS, TENSORS = "model.json", "model.safetensors"  # in it
MODEL_CARD = Path("models/README.md")
METRICS = Path("metrics")
PREDICTIONS = METRICS / "predictions.csv"
LIVE = METRICS / "live/train.json"  # only there while replicas are trained
CONTACT_SHEETS = METRICS / "contact_sheet"  # a picture for each corpus


def manifest_path(corpus: str) -> Path:
    """The table of a corpus' utterances."""
    return Path(f"data/manifest/{corpus}.csv")


def frames_path(corpus: str) -> Path:
    """The face crops of a corpus."""
    return FRAMES / f"{corpus}.h5"


def mels_path(corpus: str) -> Path:
    """The spectrograms of a corpus."""
    return MELS / f"{corpus}.h5"


def transcripts_path(corpus: str) -> Path:
    """What is said in a corpus."""
    return Path(f"data/transcripts/{corpus}.csv")


def features_path(modality: str, corpus: str) -> Path:
    """The features of a corpus in a modality, "visual", "acoustic" or "linguistic"."""
    return FEATURES / modality / f"{corpus}.h5"
