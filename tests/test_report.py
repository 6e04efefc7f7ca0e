"""The page that needs no internet, and the lines with which `dvc repro` ends."""

import base64
import re
import shutil
import subprocess
import wave
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import best_test_epoch, evaluate, report, train, tsne
from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.listing import COLUMNS
from stages.corpora.span import span_of
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_json, read_table, write_json, write_table
from stages.io.skips import skip_row, table_path, write_skips
from stages.media.audio import read_audio
from stages.media.spectrogram import clip_mel
from stages.report import Wrong, surely_wrong
from stages.reporting.excerpts import SOUND_SECONDS
from stages.runtime.paths import CONTACT_SHEETS
from stages.scoring.summary import circumstances, headline
from tests.feature_files import PARAMS, Rows, prepare, utterances, work_in

PAGE = Path("metrics/report.html")
LIMIT = 2_000_000  # bytes of the page of the sample


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)


def draw_sheet(corpus: str) -> None:
    """A contact sheet as large as a real one, of noise, which no format makes small."""
    CONTACT_SHEETS.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (130, 160, 3), np.uint8)
    Image.fromarray(noise).resize((1300, 1044)).save(CONTACT_SHEETS / f"{corpus}.png")


def write_clips(rows: Rows) -> None:
    """A voice of 0.3 s for each utterance, its spectrogram, and of all but the first a face."""
    rng = np.random.default_rng(0)
    write_table(Path("data/manifest/sample.csv"), COLUMNS, [r | {"audio": wav(r)} for r in rows])
    for row in rows:
        write_wav(raw(row), rng.normal(size=4800))
    write_mels(rows)
    n = len(rows) - 1
    with write_arrays(Path("data/frames/sample.h5"), "frames", {}, 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in rows[1:]]))
        arrays.append("faces", rng.integers(0, 255, (n, 3, 8, 8, 3), dtype=np.uint8))
        arrays.append("status", np.zeros((n, 3), np.uint8))
        arrays.append("certainty", np.full((n, 3), 0.9, np.float32))
        arrays.append("jumps", np.zeros((n, 3), np.float32))
        arrays.append("times", np.tile([0.1, 0.2, 0.3], (n, 1)))


def write_mels(rows: Rows) -> None:
    """The spectrograms of the voices, or of spans of them."""
    spans = [span_of(row["start"], row["end"]) for row in rows]
    mels = [clip_mel(raw(r), span=s, **PARAMS["mels"]).values for r, s in zip(rows, spans)]
    with write_arrays(Path("data/mels/sample.h5"), "mels", PARAMS["mels"], 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in rows]))
        arrays.append("offsets", np.cumsum([0, *map(len, mels)]))
        arrays.append("values", np.concatenate(mels))


def wav(row: dict[str, str]) -> str:
    return f"{row['id'].split('/')[1]}.wav"


def raw(row: dict[str, str]) -> Path:
    return Path("data/raw/sample") / wav(row)


def write_wav(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((3000 * samples).clip(-32767, 32767).astype("<i2").tobytes())


def make(**changes: Any) -> str:
    """The page of a small corpus after a short training."""
    prepare(**{"epochs": 3, "noise": 1.0, "seeds": 2, "best_test_epoch": False} | changes)
    write_clips(read_table(Path("data/manifest/sample.csv")))
    draw_sheet("sample")
    for stage in (train, evaluate, best_test_epoch, tsne, report):
        stage.main()
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all results are made, once."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, patch)
        make()
    return folder


@pytest.fixture
def page(results: Path, project: None) -> str:
    """The page, with all results in the working directory."""
    shutil.copytree(results, Path(), dirs_exist_ok=True)
    return PAGE.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """What a page refers to, and whether its elements are closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name.split(":")[-1] in LINKING]
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag}: closed out of order"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts += [" ".join(data.split())] if data.strip() else []


def shown_wrong() -> list[Wrong]:
    return surely_wrong(read_table(Path("metrics/predictions.csv")))


LINKING = ("src", "href", "data", "action", "srcset")


def test_the_page_refers_to_nothing_outside_itself(page: str):
    tags = Tags(page)
    n = len(shown_wrong())
    assert tags.open == [] and tags.counts["audio"] == n == 6
    assert tags.counts["img"] == 1 + 2 * n - ("No faces." in page)
    assert all(link.startswith(("#", "data:image/", "data:audio/")) for link in tags.links)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert len(page.encode()) < LIMIT


def test_the_page_holds_the_result_and_what_it_rests_on(page: str):
    texts = Tags(page).texts
    details = read_json(Path("metrics/details.json"))
    said = headline(details)
    assert texts[0] == f"sample, protocol paper: {said}" and texts[1] == said
    assert texts[2] == circumstances(details) and "The sample is synthetic" in texts[3]
    for heading in ("Scores", "Emotions", "Speakers", "Most surely wrong", "Settings and code"):
        assert heading in texts
    for emotion, of_emotion in details["classes"].items():
        row = texts.index(emotion, texts.index("precision"))
        assert texts[row + 1] == f"{of_emotion['recall']:.3f}" and texts[row + 3] == "8"
    for speaker, of_speaker in details["speakers"].items():
        row = texts.index(speaker)
        assert texts[row + 1 : row + 4] == [
            f"{of_speaker['war']:.3f}", f"{of_speaker['uar']:.3f}", "14",
        ]  # fmt: skip
    faces = "The faces of 56 of the 56 test utterances were trained on, but are not what any"
    assert any(text.startswith(faces) for text in texts)
    assert any("pass it on only as the licences of the corpora allow" in text for text in texts)
    assert texts[texts.index("alpha") + 1] == "0.001"
    assert texts[texts.index("lmmd.bandwidth") + 1] == "mean" and "workers" not in texts
    assert any("below it their number (mean over 2 seeds)" in text for text in texts)


def test_figures_show_what_the_tables_hold_with_emotions_in_words(page: str):
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 5  # confusion, loss, recall, LMMD, t-SNE
    confusion, loss, recall, lmmd, plane = (Tags(picture).texts for picture in pictures)
    for text in (confusion, plane):
        assert set(EMOTIONS) <= set(text)
    table = (line.split(",") for line in Path("metrics/confusion.csv").read_text().splitlines()[1:])
    shown = [float(count) for _, _, count, _ in table if float(count)]
    for count in shown:
        assert f"{count:.1f}" in confusion or f"{count:.0f}" in confusion
    assert {"true emotion", "predicted emotion", "share of the true emotion's utterances"} <= set(
        confusion
    )
    assert "cross-entropy" in loss and "UAR" in recall and "LMMD" in lmmd
    assert {"before adaptation", "after adaptation", "acoustic, test"} <= set(plane)


def test_the_page_of_fewer_classes_tells_of_these_alone():
    page = make(classes=["sadness", "anger", "fear"])
    confusion, *_, plane = (
        Tags(picture).texts for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    )
    for text in (confusion, plane):
        assert set(EMOTIONS) & set(text) == {"anger", "fear", "sadness"}
    texts = Tags(page).texts
    words = " ".join(texts)
    assert "sample, 3 classes (anger, fear, sadness), protocol paper" in words
    assert "mean recall of the 3 emotions; chance is 0.333" in " ".join(words.split())
    assert texts[texts.index("utterances left out by rule") + 1] == "32"
    assert texts[texts.index("by rule, sample, split, not_in_classes, disgust") + 1] == "8"


def test_the_same_results_give_the_same_bytes(page: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    report.main()
    assert PAGE.read_text(encoding="utf-8") == page
    assert not re.search(r"20\d\d-\d\d-\d\d", page)


@pytest.mark.parametrize(
    "changes",
    [
        {"acoustic_only": True, "seeds": 1},
        {"selection": "last", "validation": 0.0, "protocol": "speaker"},
        {"shuffle_labels": True, "duplicates": "drop"},
        {"rows": utterances("sample", speakers=2), "epochs": 1},
    ],
)
def test_every_kind_of_result_has_a_page(changes: dict[str, Any]):
    tags = Tags(make(**changes))
    assert tags.open == [] and tags.counts["svg"] == 5 - ("acoustic_only" in changes)


def test_the_best_test_epoch_is_shown_where_it_is_asked_for_alone(page: str):
    assert "Best epoch on the test part" not in page
    page = make(best_test_epoch=True)
    assert "Best epoch on the test part: not a result" in page and "optimistic" in page


def test_what_was_left_out_is_shown_by_reason(page: str):
    details = read_json(Path("metrics/details.json"))
    skipped = {"sample": {"frames": {"no_face": {"anger": 2}}}}
    uneven = {"sample": {"frames": {"anger": 0.25}}}
    write_json(
        Path("metrics/details.json"),
        details | {"n_skipped": 2, "skipped": skipped, "skipped_unevenly": uneven},
    )
    report.main()
    texts = Tags(PAGE.read_text(encoding="utf-8")).texts
    assert texts[texts.index("skipped, sample, frames, no_face, anger") + 1] == "2"
    assert any("skips anger far more often than the other emotions" in text for text in texts)


def test_names_are_text_and_no_markup(page: str):
    details = read_json(Path("metrics/details.json"))
    speakers = {"sample/<b>x</b>": {"n_test": 1, "uar": 1.0, "war": 1.0}}
    write_json(Path("metrics/details.json"), details | {"speakers": speakers})
    report.main()
    page = PAGE.read_text(encoding="utf-8")
    assert "sample/&lt;b&gt;x&lt;/b&gt;" in page and "<b>" not in page


def test_contact_sheets_of_corpora_that_params_no_longer_name_are_deleted_and_not_shown(
    page: str, capsys: pytest.CaptureFixture[str]
):
    draw_sheet("ravdess")
    report.main()
    assert PAGE.read_text(encoding="utf-8") == page
    assert [path.name for path in CONTACT_SHEETS.iterdir()] == ["sample.png"]
    assert "ravdess" not in page
    said = "metrics/contact_sheet/ravdess.png: deleted, as ravdess is not in params.yaml's corpora"
    assert said in capsys.readouterr().out


def test_it_ends_with_the_result_where_to_look_and_what_to_type(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    report.main()
    details = read_json(Path("metrics/details.json"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [headline(details), circumstances(details)]
    assert lines[2].startswith("Caution: The sample is synthetic")
    assert lines[-2] == "Look at metrics/report.html."
    assert lines[-1].startswith("Next: dvc exp run -S alpha=1e-4 ")
    monkeypatch.setenv("DVC_EXP_NAME", "any")  # as DVC does in an experiment
    report.main()
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("Next: python -m stages compare HEAD")
    )


def predictions(*rows: tuple[str, str, str, list[float]]) -> Rows:
    """Rows of metrics/predictions.csv of id, speaker, actual code, and probabilities."""
    return [
        {"id": name, "speaker": speaker, "actual": actual}
        | {code: str(p) for code, p in zip(CODES, [*values, *[0.0] * (7 - len(values))])}
        for name, speaker, actual, values in rows
    ]


def test_the_most_surely_wrong_are_by_the_mean_over_seeds_and_one_of_a_kind():
    found = surely_wrong(
        predictions(
            ("c/1", "c/A", "AN", [0.1, 0.9]),  # wrong by 0.8 on average
            ("c/1", "c/A", "AN", [0.3, 0.7]),
            ("c/2", "c/A", "AN", [0.4, 0.6]),  # of the same kind
            ("c/2", "c/A", "AN", [0.4, 0.6]),
            ("c/3", "c/B", "AN", [0.0, 1.0]),  # right on average
            ("c/3", "c/B", "AN", [1.0, 0.0]),
            ("c/4", "c/B", "SU", [0.05, 0.85, 0.1]),  # surer than all others
            ("c/4", "c/B", "SU", [0.05, 0.85, 0.1]),
        )
    )
    assert [(item.id, item.actual, item.predicted) for item in found] == [
        ("c/4", "surprise", "disgust"),
        ("c/1", "anger", "disgust"),
    ]
    names, values = zip(*found[0].probabilities)
    assert names == ("disgust", "fear", "anger", "surprise")
    assert values == pytest.approx((0.85, 0.1, 0.05, 0))
    assert [name for name, _ in found[1].probabilities] == ["disgust", "anger", "fear"]
    many = [(f"c/{i}", f"c/{i}", "AN", [0.0, 1.0]) for i in range(9)]
    assert [item.id for item in surely_wrong(predictions(*many))] == [f"c/{i}" for i in range(6)]


def sounds(page: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(r"audio/flac;base64,([^\"]*)", page)]


def test_a_wrong_clip_stands_with_its_probabilities_and_its_very_sound(page: str):
    texts = Tags(page).texts
    for item, sound in zip(shown_wrong(), sounds(page), strict=True):
        assert f"{item.actual.capitalize()}, predicted as {item.predicted}" in texts
        shown = ", ".join(f"{emotion} {p:.3f}" for emotion, p in item.probabilities)
        assert f"{item.id}, speaker {item.speaker}: {shown}" in texts
        Path("sound.flac").write_bytes(sound)
        said = read_audio(Path("data/raw/sample") / wav({"id": item.id}), 16000)
        assert np.abs(read_audio(Path("sound.flac"), 16000) - said).max() < 2 / 32768


def test_a_long_sound_is_cut_and_a_span_is_what_is_heard(page: str):
    first = shown_wrong()[0]
    rows = read_table(Path("data/manifest/sample.csv"))
    row = next(row for row in rows if row["id"] == first.id)
    write_wav(raw(row), np.random.default_rng(1).normal(size=16000 * 9))
    row |= {"start": "1", "end": "8"}
    write_table(Path("data/manifest/sample.csv"), COLUMNS, rows)
    write_mels(rows)
    report.main()
    Path("sound.flac").write_bytes(sounds(PAGE.read_text())[0])
    heard, whole = (read_audio(path, 16000) for path in (Path("sound.flac"), raw(row)))
    assert len(heard) == SOUND_SECONDS * 16000
    assert np.abs(heard - whole[16000 : 16000 + len(heard)]).max() < 2 / 32768


def test_a_clip_that_is_not_there_or_is_another_now_has_no_sound_and_says_so(page: str):
    gone, other, damaged, *_ = shown_wrong()
    paths = [Path("data/raw/sample") / wav({"id": item.id}) for item in (gone, other, damaged)]
    paths[0].unlink()
    write_wav(paths[1], np.random.default_rng(5).normal(size=4800))
    paths[2].write_bytes(b"nothing")
    report.main()
    page = PAGE.read_text(encoding="utf-8")
    said = [text for text in Tags(page).texts if text.startswith("No sound: ")]
    assert len(said) == 3 and len(sounds(page)) == 3
    assert f"{paths[0]} was not there when this page was made" in said[0]
    assert f"{paths[1]} is no longer what the spectrogram was made of" in said[1]
    assert f"{paths[2]}: " in said[2]


def test_without_any_clip_there_is_a_page_without_sounds(page: str):
    shutil.rmtree("data/raw")
    report.main()
    page = PAGE.read_text(encoding="utf-8")
    assert sounds(page) == [] and page.count("No sound: ") == 6


def test_skipped_clips_are_named_with_code_and_detail_up_to_a_number(page: str):
    rows = [
        skip_row({"id": f"sample/{i:03}", "emotion": "fear"}, "mels", "silent", f"<i>{i}</i>")
        for i in range(103)
    ]
    by_rule = skip_row({"id": "sample/calm", "emotion": "calm"}, "mels", "emotion_excluded", "c")
    write_skips(table_path("sample", "mels"), [*rows, by_rule])
    report.main()
    texts = Tags(PAGE.read_text(encoding="utf-8")).texts
    row = texts.index("sample/000")
    assert texts[row : row + 4] == ["sample/000", "mels", "silent", "<i>0</i>"]
    assert "sample/099" in texts and "sample/100" not in texts and "sample/calm" not in texts
    assert "And 3 more: see data/skipped/." in texts


@pytest.mark.parametrize(
    "found, said",
    [
        (
            {"temperature": 1.23, "n_validation": 80, "ece_before": 0.1, "ece_after": 0.02},
            "temperature 1.23, from 80 validation utterances; expected calibration error "
            "0.100 before and 0.020 after.",
        ),
        ({"n_validation": 0, "ece_before": 0.1}, "not calibrated, as nothing validates: expected "),
    ],
)
def test_the_calibration_is_shown(found: dict[str, float], said: str, page: str):
    details = read_json(Path("metrics/details.json"))
    write_json(Path("metrics/details.json"), details | {"calibration": found})
    report.main()
    assert any(said in " ".join(text.split()) for text in Tags(PAGE.read_text()).texts)


def test_a_result_without_errors_says_so(page: str):
    rows = read_table(Path("metrics/predictions.csv"))
    right = [row | dict.fromkeys(CODES, "0") | {row["actual"]: "1"} for row in rows]
    write_table(Path("metrics/predictions.csv"), list(rows[0]), right)
    report.main()
    assert "No test utterance is predicted wrongly." in Tags(PAGE.read_text()).texts


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_the_revision_is_that_of_code_and_settings_and_outlives_a_commit_of_results(page: str):
    assert "git did not tell" in page
    git("init", "-q")
    Path("stages").mkdir()
    for name in ("stages/a.py", "dvc.yaml", "README.md"):
        Path(name).write_text("1")
    git("add", "params.yaml", "stages", "dvc.yaml")
    git("commit", "-qm", "code")
    commit = git("rev-parse", "HEAD")
    report.main()
    page = PAGE.read_text(encoding="utf-8")
    assert commit in Tags(page).texts and "not committed" not in page
    git("add", "README.md", "metrics")
    Path("stages/README.md").write_text("1")
    git("commit", "-qm", "results and texts")
    report.main()
    assert PAGE.read_text(encoding="utf-8") == page
    Path("stages/a.py").write_text("2")
    Path("stages/ü.py").write_text("new")
    report.main()
    [said] = [text for text in Tags(PAGE.read_text()).texts if "not committed" in text]
    assert said == ", with changes that were not committed, in stages/a.py, stages/ü.py."
