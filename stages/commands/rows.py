"""The rows of every table: what each changes in params.yaml, and what it is set beside."""

from dataclasses import dataclass, field
from typing import NamedTuple

from stages.commands.published import ABLATION, MELD, SAVEE, SEVERAL_CORPORA, Reported

Settings = dict[str, str]


class Row(NamedTuple):
    """What a row is called, and what it changes in params.yaml."""

    name: str
    label: str
    settings: Settings
    base: str = ""  # the row that it is set against, "" for that of its table


FDAN = Row("fdan", "FDAN", {})
ABLATIONS = [
    Row("acoustic_only", "acoustic only", {"acoustic_only": "true"}),
    Row("fdan_1", "FDAN_1 (no cross-attention)", {"cross_attention": "false"}),
    Row("fdan_2", "FDAN_2 (alpha 0)", {"alpha": "0"}),
    FDAN,
]
INFERENCES = [Row(i, f"FDAN, inference {i}", {"inference": i}) for i in ("prototypes", "none")]
ALPHAS = [Row(f"alpha_{a}", f"FDAN, alpha {a}", {"alpha": a}) for a in ("1e-4", "1e-5", "1", "10")]
BELOW = [
    Row("majority", "majority", {"system": "majority"}),
    Row("knn", "nearest neighbours", {"system": "knn"}),
    Row("linear_probe", "linear probe", {"system": "linear_probe"}),
]
FINE_TUNED = [
    Row(name, label, {"system": name, "finetuned.weights": "imagenet"})
    for label in ("VGG-16", "VGG-19", "ResNet-18", "ResNet-34", "ResNet-50")
    for name in (label.replace("-", "").lower(),)
]
# The spectrograms that librosa makes unless told otherwise, of which these systems take MFCCs.
LIBROSA = {
    "mels.sample_rate": "22050",
    "mels.n_fft": "2048",
    "mels.win_length": "2048",
    "mels.hop_length": "512",
    "mels.fmin": "0.0",
    "mels.fmax": "11025.0",
}
# What is computed from the sound before anything is learned stands among the encoders.
TWINE_SHUF_PAT = {
    "encoders.acoustic.name": "twine_shuf_pat",
    "encoders.acoustic.weights": "published",
}
HAND_FEATURES = {
    "encoders.acoustic.name": "hand_features",
    "encoders.acoustic.weights": "published",
    "encoders.acoustic.sequences": "true",
}
BY_EAR = [
    Row("inca", "INCA, in the manner of", {"system": "inca"} | TWINE_SHUF_PAT),
    Row("gm_tcnet", "GM-TCNet", {"system": "gm_tcnet"} | LIBROSA),
    Row("tim_net", "TIM-Net", {"system": "tim_net"} | LIBROSA),
    Row("tf_mix", "TF-Mix, in the manner of", {"system": "tf_mix"} | HAND_FEATURES),
]
TEXT = {"encoders.linguistic.name": "all-MiniLM-L6-v2"}
SEQUENCES = TEXT | {"encoders.linguistic.sequences": "true"}
# Without faces, which cannot be tested where speakers are trained on, as by MELD's official parts.
BY_TEXT_TOO = [
    Row(name, label, {"system": name, f"{name}.modalities": "[acoustic,linguistic]"} | encoder)
    for name, label, encoder in (
        ("sdt", "SDT, features ours", TEXT),
        ("cadf", "CADF, in the manner of", SEQUENCES),
        ("query_tokens", "emotion query tokens", SEQUENCES),
    )
]
# With the modalities and encoders of params.yaml.
TOKENS = Row("tokens", "query tokens", {"system": "query_tokens"})
MODALITIES = "query_tokens.modalities"
TOKEN_ABLATIONS = [
    Row(f"{TOKENS.name}-{name}", label, TOKENS.settings | changes)
    for name, label, changes in (
        ("no_masking", "no modality masking", {"query_tokens.masking": "0"}),
        ("no_queries", "no queries, the mean instead", {"query_tokens.queries": "0"}),
        ("acoustic", "acoustic alone", {MODALITIES: "[acoustic]"}),
        ("linguistic", "linguistic alone", {MODALITIES: "[linguistic]"}),
        ("visual", "visual alone", {MODALITIES: "[visual]"}),
    )
]
GRID = [
    Row(f"alpha_{a}-decay_{d}", f"FDAN, alpha {a}, decay {d}", {"alpha": a, "weight_decay": d})
    for a in ("1e-3", "1e-4", "1e-5")
    for d in ("1e-3", "1e-4")
]
RATES = [
    Row(f"rate_{rate}", f"FDAN, learning rate {rate}", {"learning_rate": rate})
    for rate in ("1e-4", "3e-4", "1e-3", "3e-3")
]


PROBE = BELOW[-1]
CURVES = [
    Row(
        f"{row.name}-share_{share}",
        f"{row.label}, {100 * float(share):g} % of the training speakers",
        row.settings | {"train_share": share},
        f"{row.name}-share_1.0",
    )
    for row in (FDAN, PROBE)
    for share in ("1.0", "0.75", "0.5", "0.25")
]


@dataclass(frozen=True)
class Table:
    """Rows to measure, each on every task, and the published rows to set them beside.

    Attributes:
        tasks: pairs of visual corpora and acoustic corpus; none: those of params.yaml.
        protocols: by each of which everything is measured; none: that of params.yaml.
        paired: the row from which the difference of each other is shown.
        targets: the stages of dvc.yaml to run.
        across: every row is trained on each corpus and tested on each other.
        against: what rows are set against where these have bases of their own.
    """

    rows: list[Row]
    tasks: tuple[tuple[tuple[str, ...], str], ...] = ()
    protocols: tuple[str, ...] = ()
    published: list[Reported] = field(default_factory=list)
    paired: Row | None = None
    targets: tuple[str, ...] = ("evaluate",)
    across: bool = False
    against: str = ""

    @property
    def settings(self) -> Settings:
        """What its targets need to be set."""
        return {"best_test_epoch": "true"} if "best_test_epoch" in self.targets else {}


ON_SAVEE, ON_MELD, BOTH = (("savee",), "savee"), (("meld",), "meld"), ("savee", "meld")
WITH_BEST_EPOCH = ("evaluate", "best_test_epoch")
# The folds of a protocol where a table names the protocol: SAVEE has four speakers.
FOLDS = {"paper": "5", "speaker": "4", "official": "1"}
TABLES = {
    "table1": Table(
        [*FINE_TUNED, *BY_EAR, *BELOW, FDAN],
        (ON_SAVEE,),
        ("paper", "speaker"),
        SAVEE,
        paired=FDAN,
        targets=WITH_BEST_EPOCH,
    ),
    "table2": Table(
        [*FINE_TUNED, *BY_TEXT_TOO, *BELOW, FDAN],
        (ON_MELD,),
        ("paper", "speaker", "official"),
        MELD,
        paired=FDAN,
        targets=WITH_BEST_EPOCH,
    ),
    "table3": Table([FDAN], ((BOTH, "savee"), (BOTH, "meld")), published=SEVERAL_CORPORA),
    "table4": Table(ABLATIONS, (ON_SAVEE, ON_MELD), published=ABLATION, paired=FDAN),
    "floor": Table([*BELOW, FDAN], paired=FDAN),
    "query_tokens": Table([TOKENS, *TOKEN_ABLATIONS], paired=TOKENS),
    "grid": Table([FDAN, *GRID], paired=FDAN),
    "findings": Table(ABLATIONS + INFERENCES + ALPHAS, paired=FDAN),
    "learning_rate": Table(RATES, targets=("train",)),
    "learning_curve": Table(CURVES, against="all training speakers"),
    "cross_corpus": Table([FDAN, PROBE], across=True, against="the one within the corpus"),
}
