"""The page that needs no internet, and the lines with which `dvc repro` ends."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import best_test_epoch, evaluate, report, train, tsne
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_json, write_json
from stages.runtime.paths import CONTACT_SHEETS
from stages.scoring.summary import circumstances, headline
from tests.feature_files import prepare, utterances, work_in

PAGE = Path("metrics/report.html")
LIMIT = 1_000_000  # bytes of the page of the sample


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)


def draw_sheet(corpus: str) -> None:
    """A contact sheet as large as a real one, of noise, which no format makes small."""
    CONTACT_SHEETS.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (130, 160, 3), np.uint8)
    Image.fromarray(noise).resize((1300, 1044)).save(CONTACT_SHEETS / f"{corpus}.png")


def make(**changes: Any) -> str:
    """The page of a small corpus after a short training."""
    prepare(**{"epochs": 3, "noise": 1.0, "seeds": 2, "best_test_epoch": False} | changes)
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


LINKING = ("src", "href", "data", "action", "srcset")


def test_the_page_refers_to_nothing_outside_itself(page: str):
    tags = Tags(page)
    assert tags.open == [] and tags.counts["img"] == 1
    assert all(link.startswith(("#", "data:image/")) for link in tags.links)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert len(page.encode()) < LIMIT


def test_the_page_holds_the_result_and_what_it_rests_on(page: str):
    texts = Tags(page).texts
    details = read_json(Path("metrics/details.json"))
    said = headline(details)
    assert texts[0] == f"sample, protocol paper: {said}" and texts[1] == said
    assert texts[2] == circumstances(details) and "The sample is synthetic" in texts[3]
    for heading in ("Scores", "Emotions", "Speakers", "Training", "Settings"):
        assert heading in texts
    for emotion, of_emotion in details["classes"].items():
        row = texts.index(emotion, texts.index("precision"))
        assert texts[row + 1] == f"{of_emotion['recall']:.3f}" and texts[row + 3] == "8"
    for speaker, of_speaker in details["speakers"].items():
        row = texts.index(speaker)
        assert texts[row + 1 : row + 4] == [
            f"{of_speaker['war']:.3f}", f"{of_speaker['uar']:.3f}", "14",
        ]  # fmt: skip
    row = texts.index("test utterances whose own faces were trained on")
    assert texts[row + 1] == "56"
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
