"""Demo: a web page on this machine that tells the emotion of a clip that is dropped or recorded.

    python -m stages demo                  (then open the address that it prints)
    python -m stages demo --rev alpha-1    (with the model of a commit or experiment)
    python -m stages demo --port 8000

In:  models/bundle, made by `dvc repro`, from the workspace or from DVC's cache
Out: a page at http://127.0.0.1:7860 that only this machine can open, until Ctrl-C: V1 V2 V3 with
     their faces, the log-Mel spectrogram, the probabilities, emotion over time, the model's card

What is computed of a clip is what `predict` computes. No clip leaves this machine: the page asks
for no other address, and is told by its Content-Security-Policy that it may not. A clip, and all
that was made of it, is deleted when it has been answered; the folder that held it when the command
ends, however it ends.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.commands.predict import bundle_of
from stages.media.crops import ready_to_crop
from stages.media.headers import MAX_BYTES
from stages.recognition.answer_page import pages, problem
from stages.recognition.bundle import read_bundle
from stages.recognition.model_card import render
from stages.recognition.recognise import ACOUSTIC, MODALITIES, VISUAL, Recogniser
from stages.runtime.errors import UserError
from stages.runtime.passing import passing_folder
from stages.scoring.summary import cautions

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
PORT = 7860  # Gradio's own
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
CHOICES = {
    "its voice": ACOUSTIC,
    "its voice and its faces": ",".join(MODALITIES),
}
PROMISE = "No clip leaves this machine, and none is kept."
STYLE = """
.answer .winner { margin: 0; font-size: 1.8em; }
.answer .winner small { font-weight: normal; }
.answer h3 { margin: 1.4em 0 0.4em; }
.answer .note { opacity: 0.75; font-size: 0.9em; margin: 0.4em 0; }
.answer .problem { border-left: 4px solid #d55e00; padding: 0.3em 0.8em; overflow-wrap: anywhere; }
.answer .shares { border-collapse: collapse; width: 100%; margin: 0.6em 0; }
.answer .shares, .answer .shares tr { border: 0; }
.answer .shares td, .answer .shares th { padding: 2px 8px 2px 0; text-align: right; border: 0; }
.answer .shares td:first-child, .answer .shares th:first-child { text-align: left; width: 6em; }
.answer .shares .bar { width: 60%; }
.answer .shares .bar div { height: 1em; border-radius: 2px; min-width: 1px; }
.dark .answer .bar div { outline: 1px solid #777; }
.answer .plot { overflow-x: auto; }
.answer .plot svg { width: 100%; min-width: 480px; height: auto; background: white; }
.answer .pictures { display: grid; gap: 8px; grid-template-columns: repeat(3, 1fr); }
.answer .pictures figure { margin: 0; }
.answer .pictures svg { width: 100%; max-height: 300px; display: block; }
.answer .pictures figcaption { font-size: 0.85em; }
.answer .pictures .bad { color: #d55e00; }
.answer .pictures rect { fill: none; stroke: #56b4e9; stroke-width: 2; }
.answer .pictures rect { vector-effect: non-scaling-stroke; }
.answer .pictures rect.none { stroke: #d55e00; stroke-dasharray: 6 4; }
"""


def stay_here(folder: Path) -> None:
    """Let libraries write to `folder` alone and ask nobody anything; before they are imported."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # which could open the page to others
    os.environ |= {
        "FDAN_CACHE": str(folder / "made"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "clips"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    tempfile.tempdir = str(folder)


def respond(recogniser: Recogniser, folder: Path, clip: Path, modalities: str) -> Iterator[str]:
    """Yield the HTML of a clip, and delete the clip and all that was made of it.

    Args:
        folder: as `stay_here` has it.
    """
    if not clip.exists():  # equal clips have one place
        yield problem(clip.name, "gone: answered on another page, and deleted; drop it again")
        return
    texts = pages(recogniser, clip, modalities.split(","))
    try:
        while True:
            # Its progress is for a terminal where somebody waits for it.
            with contextlib.redirect_stderr(io.StringIO()):
                text = next(texts, None)
            if text is None:
                return
            yield text
    except UserError as error:
        yield problem(clip.name, str(error))
    finally:
        if folder in clip.parents:
            shutil.rmtree(clip.parent, ignore_errors=True)
        shutil.rmtree(folder / "made", ignore_errors=True)


def make_page(recogniser: Recogniser, folder: Path) -> "gradio.Blocks":
    """The page; clips wait until those before them are answered."""
    import gradio as gr

    def answer(clip: str | None, choice: str) -> Iterator[tuple[str, None]]:
        if clip is None:
            return
        for text in respond(recogniser, folder, Path(clip), CHOICES[choice]):
            yield f'<div class="answer">{text}</div>', None

    warnings = " ".join(cautions(recogniser.contents["result"]))
    card = render(recogniser.contents)
    choices = [name for name, by in CHOICES.items() if not recogniser.misfit(by.split(","))]
    with gr.Blocks(title="Emotion of a clip", analytics_enabled=False) as page:
        gr.Markdown(f"# Emotion of a clip\n{PROMISE}\n\n{warnings}")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                choice = gr.Radio(
                    choices,
                    value=choices[0],
                    label="The next clip is told by",
                    info="The result of the model's protocol is of voices alone.",
                    visible=len(choices) > 1,
                )
                with gr.Tab("File"):
                    drop = gr.File(label="Audio or video", height=180)
                with gr.Tab("Microphone"):
                    microphone = gr.Audio(
                        sources=["microphone"], type="filepath", label="Speak for some seconds"
                    )
                with gr.Tab("Camera"):
                    camera = gr.Video(
                        sources=["webcam"],
                        label="Speak for some seconds",
                        include_audio=True,
                        webcam_options=gr.WebcamOptions(mirror=False),  # by the program ffmpeg
                    )
            with gr.Column(scale=3, min_width=300):
                shown = gr.HTML(
                    '<div class="answer"><p class="note">Its answer comes here.</p></div>'
                )
        with gr.Accordion("The model: for what, and how often it is right", open=False):
            gr.Markdown(card[card.index("## ") :])
        for start, source in (
            (drop.upload, drop),
            (microphone.stop_recording, microphone),
            (camera.stop_recording, camera),
        ):
            start(
                answer,
                [source, choice],
                [shown, source],
                api_name="answer" if source is drop else None,
                concurrency_id="clip",
                concurrency_limit=1,
                show_progress_on=shown,
            )
    return page


def policy(app: Any) -> Any:
    """An ASGI application that lets a browser load nothing from anywhere else."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await app(scope, receive, send_with_policy)

    return answer


def main(words: Sequence[str]) -> None:
    """Serve the page until the process is told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m stages demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rev", metavar="REV", help="a git revision or an experiment")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"default: {PORT}")
    asked = parser.parse_args(words)
    if not 0 < asked.port < 1 << 16:
        parser.error("--port: is not a number from 1 to 65535")
    with passing_folder("fdan-demo-") as folder:
        stay_here(folder)
        with bundle_of(asked.rev) as bundle:
            recogniser = Recogniser(read_bundle(bundle))
        if wrong := recogniser.misfit(recogniser.usual):
            raise UserError(f"demo: {wrong}")
        for modality in recogniser.encoded:  # loaded now, or refused now
            recogniser.encoder(modality)
        if VISUAL in recogniser.learned_from:
            ready_to_crop(recogniser.contents["frames"])
        page = make_page(recogniser, folder)
        serve(page, asked.port)


def serve(page: "gradio.Blocks", port: int) -> None:
    """Serve a page on this machine alone until the process is told to end.

    Raises:
        UserError: the port is taken.
    """
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A site whose name leads to this machine could have a browser read the page for it.
    own = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MAX_BYTES,
            theme=gr.themes.Default(font="sans-serif", font_mono="monospace"),
            css=STYLE,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            app_kwargs={"middleware": [own, Middleware(policy)]},
        )
    except OSError as error:
        raise UserError(f"--port: {port} cannot be used; choose another") from error
    print(f"Open http://{HOST}:{port} in a browser; Ctrl-C ends it.", flush=True)
    threading.Event().wait()
