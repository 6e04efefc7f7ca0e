"""The page of `python -m stages demo`: what it keeps, whom it asks, and what a person sees."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
import torch

from stages.commands import demo
from stages.commands.demo import make_page, respond, stay_here
from stages.corpora.emotions import EMOTIONS
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import Recogniser
from stages.runtime.errors import UserError
from stages.runtime.paths import BUNDLE
from stages.synthesis.clip import make_clip
from tests.bundle_files import write_small_bundle
from tests.helpers import ROOT, user_error, wait_for, write_params
from tests.media_files import sine, write_sound

RATE = 16_000
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of clips, as `stay_here` has it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("FDAN_CACHE", str(tmp_path / "made"))
    (tmp_path / "clips/1").mkdir(parents=True)
    return tmp_path


def recogniser(folder: Path, **flags: bool) -> Recogniser:
    write_small_bundle(folder / "bundle", flags)
    return Recogniser(read_bundle(folder / "bundle"))


def test_a_clip_and_what_was_made_of_it_are_deleted_once_answered(folder: Path, no_children: None):
    clip = write_sound(folder / "clips/1/a.wav", sine(220, 4, RATE), RATE)
    texts = respond(recogniser(folder), folder, clip, "acoustic")
    assert 'class="winner"' in next(texts)
    made = {entry.parent.name for entry in folder.glob("made/*/*")}
    assert clip.exists() and made == {"frames", "mels", "features"}
    assert "Windows of 3 s" in next(texts)
    assert next(texts, None) is None
    assert not clip.parent.exists() and not (folder / "made").exists()


def test_a_clip_that_was_answered_on_another_page_is_to_be_dropped_again(folder: Path):
    (text,) = respond(recogniser(folder), folder, folder / "clips/1/a.wav", "acoustic")
    assert text.startswith('<p class="problem"><b>a.wav</b>: gone: ') and "drop it again" in text


def test_a_clip_is_deleted_where_nobody_waits_for_the_answer(folder: Path, no_children: None):
    clip = write_sound(folder / "clips/1/a.wav", sine(220, 4, RATE), RATE)
    texts = respond(recogniser(folder), folder, clip, "acoustic")
    next(texts)
    texts.close()  # as Gradio does where the page was closed
    assert not clip.parent.exists() and not (folder / "made").exists()


def test_what_a_person_must_fix_is_a_line_and_the_clip_is_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def fail(*_: Any) -> Iterator[str]:
        print("progress", file=sys.stderr)
        raise UserError("frames: no memory is <left>")
        yield

    monkeypatch.setattr(demo, "pages", fail)
    clip = write_sound(folder / "clips/1/a.wav", sine(220, 1, RATE), RATE)
    (text,) = respond(recogniser(folder), folder, clip, "acoustic")
    assert text == '<p class="problem"><b>a.wav</b>: frames: no memory is &lt;left&gt;</p>'
    assert not clip.parent.exists() and capsys.readouterr().err == ""


def test_only_clips_below_the_folder_are_deleted(folder: Path, no_children: None):
    clip = write_sound(folder / "mine.wav", sine(220, 1, RATE), RATE)
    inside = folder / "demo"
    list(respond(recogniser(folder), inside, clip, "acoustic"))
    assert clip.exists()


def test_libraries_write_to_the_folder_and_ask_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_ANALYTICS_ENABLED", "FDAN_CACHE",
                 "GRADIO_TEMP_DIR", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"):  # fmt: skip
        monkeypatch.setenv(name, "True")
    stay_here(tmp_path)
    assert "GRADIO_SHARE" not in os.environ and "GRADIO_ALLOWED_PATHS" not in os.environ
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert Path(tempfile.gettempdir()) == tmp_path
    for name in ("FDAN_CACHE", "GRADIO_TEMP_DIR"):
        assert tmp_path in Path(os.environ[name]).parents


@pytest.mark.parametrize("acoustic_only", [False, True])
def test_faces_can_be_asked_for_where_the_model_knows_them(folder: Path, acoustic_only: bool):
    pytest.importorskip("gradio", reason="gradio is not installed")
    page = make_page(recogniser(folder, acoustic_only=acoustic_only), folder)
    config = page.get_config_file()
    (choice,) = (item["props"] for item in config["components"] if item["type"] == "radio")
    assert choice["value"] == "its voice" and choice["visible"] is not acoustic_only
    assert len(choice["choices"]) == (1 if acoustic_only else 2)
    assert {function.concurrency_limit for function in page.fns.values()} == {1}
    assert {function.concurrency_id for function in page.fns.values()} == {"clip"}


def test_without_a_bundle_it_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _restore_afterwards(monkeypatch)
    monkeypatch.chdir(tmp_path)
    said = user_error(demo.main, [])
    assert said.startswith(f"{BUNDLE}/model.json: ") and "dvc repro" in said


def test_a_bundle_that_does_not_fit_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _restore_afterwards(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_small_bundle(BUNDLE, sources={"visual": "seed 0", "acoustic": "seed 7"})
    assert "is not what the model was trained with, seed 7" in user_error(demo.main, [])


def test_a_port_that_is_taken_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("gradio", reason="gradio is not installed")
    _restore_afterwards(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_small_bundle(BUNDLE)
    with socket.create_server((demo.HOST, 0)) as server:
        port = server.getsockname()[1]
        said = user_error(demo.main, ["--port", str(port)])
    assert said == f"--port: {port} cannot be used; choose another"


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http"])
def test_what_is_no_port_is_refused_at_once(port: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        demo.main(["--port", port])
    assert ended.value.code == 2 and "--port" in capsys.readouterr().err


def _restore_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `stay_here` change what it changes for the time of a test."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


class Served(NamedTuple):
    """A running demo.

    Attributes:
        asked: the addresses that its process has looked up or connected to, a line each.
    """

    process: subprocess.Popen
    port: int
    folder: Path
    asked: Path


LISTEN = """
import sys
asked = open(sys.argv[1], "a")
def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        place = args[0] if event == "socket.getaddrinfo" else args[-1]
        print(event, place, file=asked, flush=True)
sys.addaudithook(note)
from stages.__main__ import main
main(["demo", "--port", sys.argv[2]])
"""


def serve(project: Path) -> Served:
    """Start the demo on a small bundle."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    write_params(project)
    write_small_bundle(project / BUNDLE)
    with socket.create_server((demo.HOST, 0)) as server:
        port = server.getsockname()[1]
    temporary = project / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(project / "asked"), str(port)],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line == f"Open http://127.0.0.1:{port} in a browser; Ctrl-C ends it.\n", line
    (folder,) = temporary.iterdir()
    return Served(process, port, folder, project / "asked")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = serve(tmp_path_factory.mktemp("demo"))
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A face that speaks, a long voice with a pause, and no clip."""
    folder = tmp_path_factory.mktemp("clips")
    pause = np.zeros((1, 4 * RATE), np.float32)
    long = np.hstack([sine(220, 4, RATE), pause, sine(330, 3, RATE)])
    make_clip(folder / "face.mp4", 0, "fear", 0, 0)
    (folder / "notes.txt").write_text("no clip")
    return {
        "face": folder / "face.mp4",
        "long": write_sound(folder / "long.wav", long, RATE),
        "notes": folder / "notes.txt",
    }


@pytest.mark.long
def test_a_client_gets_an_answer_and_nothing_of_it_stays(served: Served, clips: dict[str, Path]):
    from gradio_client import Client, handle_file

    client = Client(f"http://127.0.0.1:{served.port}", verbose=False, download_files=False)

    def ask(name: str, choice: str = "its voice") -> str:
        text, *_ = client.predict(handle_file(clips[name]), choice, api_name="/answer")
        return str(text)

    assert "told by its voice and faces" in ask("face", "its voice and its faces")
    assert "Windows of 3 s, one every 1 s." in ask("long")
    assert "<b>notes.txt</b>: unreadable: " in ask("notes")
    left = [path for path in served.folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []
    said = [line for line in served.asked.read_text().splitlines() if "127.0.0.1" not in line]
    assert served.asked.stat().st_size and said == []


@pytest.mark.long
def test_it_listens_on_this_machine_alone(served: Served):
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    local = re.findall(rf"\d+: ([0-9A-F]+):{served.port:04X} 0+:0000 0A", table)
    assert local == ["0100007F"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("localhost:7860", 200), ("example.org", 400)]
)
def test_a_site_that_leads_here_by_its_own_name_is_refused(served: Served, host: str, status: int):
    address = f"http://127.0.0.1:{served.port}/"
    assert requests.get(address, headers={"Host": host}, timeout=30).status_code == status


@pytest.mark.long
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_at_once_while_it_is_busy_and_leaves_nothing(
    tmp_path: Path, clips: dict[str, Path], how: signal.Signals, code: int
):
    from gradio_client import Client, handle_file

    served = serve(tmp_path)
    client = Client(f"http://127.0.0.1:{served.port}", verbose=False, download_files=False)
    client.submit(handle_file(clips["long"]), "its voice", api_name="/answer")
    wait_for(lambda: list(served.folder.glob("made/*/*")))
    served.process.send_signal(how)
    assert served.process.wait(30) in (code, -signal.SIGALRM)
    wait_for(lambda: not served.folder.exists(), 10)
    assert served.process.stdout and "Traceback" not in served.process.stdout.read()


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium, with a camera and a microphone that are none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is neither chromium nor google-chrome")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
        yield chromium
        chromium.close()


class Opened:
    """The page in a browser, and all that it asks for."""

    def __init__(self, browser: Any, served: Served, width: int = 1280):
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = f"http://127.0.0.1:{served.port}/"
        self.page.goto(self.address)
        self.page.wait_for_selector("input[type=file]", state="attached", timeout=60_000)

    def drop(self, clip: Path, until: str) -> str:
        self.page.set_input_files("input[type=file]", str(clip))
        return self.see(until)

    def see(self, what: str) -> str:
        self.page.wait_for_selector(what, timeout=120_000)
        return str(self.page.inner_text(".answer"))

    def asks_no_one_else(self) -> bool:
        own = (self.address, "data:", f"blob:{self.address}")
        return len(self.asked) > 10 and all(url.startswith(own) for url in self.asked)


@pytest.mark.long
def test_a_person_drops_a_clip_and_sees_its_answer(
    served: Served, clips: dict[str, Path], browser: Any
):
    opened = Opened(browser, served)
    page = opened.page
    assert "No clip leaves this machine" in page.inner_text("body")
    page.get_by_label("its voice and its faces", exact=True).check()
    text = opened.drop(clips["face"], ".answer .winner")
    assert text.split()[0].lower() in EMOTIONS and "told by its voice and faces" in text
    frames = page.locator(".pictures svg")
    assert frames.count() == page.locator(".pictures rect.face").count() == 3
    for i in range(3):  # the face is within its frame, and is drawn
        frame = frames.nth(i).bounding_box()
        face = page.locator(".pictures rect.face").nth(i).bounding_box()
        assert frame["x"] < face["x"] < face["x"] + face["width"] < frame["x"] + frame["width"]
        assert frame["width"] > 100 and face["height"] > 20
    assert page.locator(".plot svg").bounding_box()["width"] > 400
    page.get_by_text("The model: for what").click()
    page.get_by_text("For what, and for what not").wait_for()
    assert opened.asks_no_one_else()


@pytest.mark.long
def test_a_person_sees_emotion_over_time_and_what_was_no_clip(
    served: Served, clips: dict[str, Path], browser: Any
):
    opened = Opened(browser, served, width=390)
    text = opened.drop(clips["long"], "text=Windows of 3 s")
    assert "left white: silent" in text and opened.page.locator(".plot svg").count() == 2
    text = opened.drop(clips["notes"], ".answer .problem")
    assert text.startswith("notes.txt: unreadable: ") and "winner" not in text
    wide = "document.documentElement.scrollWidth > window.innerWidth"
    assert not opened.page.evaluate(wide)  # on a telephone nothing is cut off
    assert opened.asks_no_one_else()


@pytest.mark.long
@pytest.mark.parametrize("source", ["Microphone", "Camera"])
def test_a_person_records_a_clip(served: Served, browser: Any, source: str):
    opened = Opened(browser, served)
    page = opened.page
    page.get_by_role("tab", name=source).click()
    if source == "Camera":
        page.get_by_text("Click to Access Webcam").click()
        page.wait_for_function("document.querySelector('video')?.currentTime > 0.5")
    page.get_by_text("Record", exact=True).click()
    page.wait_for_timeout(4000)
    page.get_by_text("Stop", exact=True).first.click()
    text = opened.see(".answer .winner")
    assert text.split()[0].lower() in EMOTIONS
    assert page.locator(".pictures svg").count() == (3 if source == "Camera" else 0)
    assert opened.asks_no_one_else()


@pytest.mark.long
def test_a_browser_is_told_to_ask_no_one_else(served: Served, browser: Any):
    opened = Opened(browser, served)
    refused = (
        opened.page.evaluate(
            "fetch('http://127.0.0.2:1/').then(() => 'sent', () => new Promise(resolve => "
            "setTimeout(() => resolve(window.refused), 500)))",
            None,
        )
        if opened.page.evaluate(
            "document.addEventListener('securitypolicyviolation', "
            "event => window.refused = event.blockedURI) || true"
        )
        else None
    )
    assert refused and refused.startswith("http://127.0.0.2:1")
