"""Mutants: damaged clips, tables and settings are refused as they should be, or read rightly.

    pytest tests/test_fuzz.py -m "not long" --mutants 5000 --mutant-seed 1
    pytest tests/test_fuzz.py -k clips --mutant-seed 1 --mutant 4711   # that one alone

Every mutant goes through stages.extraction.guard as clips do in the stages, so that a crash or a
hang is seen as one. What is asked of each is in tests/fuzz_work.py.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.extraction.guard import Guard
from tests import fuzz_work
from tests.media_files import sine, write_sound, write_video
from tests.mutations import mutate_bytes, mutate_params, mutate_table, random_of

PARAMS = Path(__file__).parents[1] / "params.yaml"
Options = tuple[int, int, int | None]
VOICE = sine(300, 0.5, 48000)
CLIPS = {
    "h264.mp4": {"b_frames": 3, "voice": VOICE},
    "h264.mkv": {"b_frames": 2, "voice": VOICE},
    "h264.flv": {"voice": VOICE},
    "h264.ts": {"b_frames": 2, "voice": VOICE},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "turned.mov": {"rotation": 90},
    "vp8.webm": {"codec": "libvpx", "voice": None},
}
SOUNDS = {
    "16.wav": "pcm_s16le", "24.wav": "pcm_s24le", "float.wav": "pcm_f32le", "a.flac": "flac",
    "a.mp3": "libmp3lame",
}  # fmt: skip
FOLDER_TABLE = """id,speaker,emotion,video,audio,sentence,split
a,anna,happiness,clips/a.mp4,clips/a.mp4,hello,train
b,anna,anger,clips/b.mp4,sound/a.wav,goodbye,train
c,ben,neutral,,sound/a.wav,hello,dev
d,"ben, junior",Sad,./clips//b.mp4,,"so ""what"" now",test
"""
MELD_TABLE = """Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID
1,Hi!,Joey,joy,0,0
2,"No, I don\u2019t.",Phoebe Sr.,neutral,0,1
3,Oh,Monica,surprise,1,0
"""


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    """A child that a mutant may neither crash, nor keep for 30 s, nor fill with 4 GiB."""
    made = Guard(seconds=30, memory=4 << 30)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole clips and sounds of each kind, by name."""
    folder = tmp_path_factory.mktemp("whole")
    for name, settings in CLIPS.items():
        write_video(folder / name, frames=12, **settings)
    for name, codec in SOUNDS.items():
        write_sound(folder / name, VOICE, 48000, codec)
    return {name: (folder / name).read_bytes() for name in [*CLIPS, *SOUNDS]}


class Hunt:
    """Gives mutants to a judge, and keeps those that it complains of."""

    def __init__(self, guard: Guard, judge: Callable, options: Options, folder: Path):
        count, self.seed, self.only = options
        self.numbers = range(count) if self.only is None else [self.only]
        self.guard, self.judge, self.folder = guard, judge, folder
        self.ends: Counter[str] = Counter()
        self.complaints: list[str] = []

    def try_one(self, index: int, path: Path, content: bytes, how: str) -> None:
        path.write_bytes(content)
        try:
            end = self.guard.call(self.judge, path, {})
        except Exception as error:  # whatever a judge or what is judged raises, or the guard
            kept = self.folder / f"mutant-{index}{path.suffix}"
            kept.write_bytes(content)
            self.complaints.append(
                f"mutant {index} of --mutant-seed {self.seed} ({how}), kept as {kept}: "
                f"{type(error).__name__}: {str(error)[:500]}\n"
                + "".join(getattr(error, "__notes__", []))[-1500:]
            )
        else:
            self.ends.update(end.items() if isinstance(end, dict) else [end])

    def close(self, *expected: object) -> None:
        """Fails if there is a complaint, or if mutants end in fewer ways than they should."""
        print(dict(sorted(self.ends.items(), key=str)))
        assert not self.complaints, f"{len(self.complaints)} mutants, among them:\n" + "\n".join(
            self.complaints[:8]
        )
        assert self.only is not None or all(self.ends[end] for end in expected), self.ends


@pytest.fixture(params=[60, pytest.param(500, marks=pytest.mark.long)])
def options(request: pytest.FixtureRequest) -> Options:
    """How many mutants of each kind; their seed; the only one to try."""
    count, seed, only = map(request.config.getoption, ("--mutants", "--mutant-seed", "--mutant"))
    return count or request.param, seed, only


def test_clips_and_sounds(
    guard: Guard, media: dict[str, bytes], options: Options, tmp_path: Path
) -> None:
    hunt = Hunt(guard, fuzz_work.judge_media, options, tmp_path)
    names = list(media)
    for index in hunt.numbers:
        rng = random_of(hunt.seed, index)
        name = names[index % len(names)]
        other = names[rng.integers(len(names))]
        content, how = mutate_bytes(rng, media[name], media[other])
        path = tmp_path / f"clip{Path(name).suffix}"
        hunt.try_one(index, path, content, f"{name}, {other}: {how}")
    parts = ("frames", "faces", "sound")
    hunt.close(*((part, end) for part in parts for end in ("ok", "truncated", "unreadable")))


def make_folder(root: Path) -> Path:
    for name in ("clips/a.mp4", "clips/b.mp4", "sound/a.wav", "../out/a.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "out.mp4").symlink_to(root.parent / "out/a.mp4")
    return root / "utterances.csv"


def make_meld(root: Path) -> Path:
    for name in ("dia0_utt0.mp4", "dia0_utt1.mp4", "dia1_utt0.mp4"):
        (root / "dev_splits_complete" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev_splits_complete" / name).touch()
    return root / "dev_sent_emo.csv"


@pytest.mark.parametrize("kind", ["folder", "meld", "table"])
def test_tables(guard: Guard, options: Options, tmp_path: Path, kind: str) -> None:
    hunt = Hunt(guard, getattr(fuzz_work, f"judge_{kind}"), options, tmp_path)
    root = tmp_path / "root"
    path = make_meld(root) if kind == "meld" else make_folder(root)
    table = (MELD_TABLE if kind == "meld" else FOLDER_TABLE).encode()
    for index in hunt.numbers:
        rng = random_of(hunt.seed, index)
        if index % 4:
            content, how = mutate_table(rng, table)
        else:
            content, how = mutate_bytes(rng, table, table[::-1])
        hunt.try_one(index, path, content, how)
    hunt.close("ok", "refused")


def test_params(guard: Guard, options: Options, tmp_path: Path) -> None:
    hunt = Hunt(guard, fuzz_work.judge_params, options, tmp_path)
    params = PARAMS.read_bytes()
    hunt.try_one(-1, tmp_path / "params.yaml", params, "unchanged")  # few mutants are "ok"
    for index in hunt.numbers:
        rng = random_of(hunt.seed, index)
        if index % 4:
            content, how = mutate_params(rng, params)
        else:
            content, how = mutate_bytes(rng, params, params[::-1])
        hunt.try_one(index, tmp_path / "params.yaml", content, how)
    hunt.close("ok", "refused")


def test_the_judge_of_frames_knows_a_wrong_frame(media: dict[str, bytes], tmp_path: Path) -> None:
    from stages.media.video import sample_frames

    path = tmp_path / "h264.mp4"
    path.write_bytes(media["h264.mp4"])
    frames = sample_frames(path)
    assert fuzz_work.in_plain_decode(path, frames.images, frames.times).all()
    assert not fuzz_work.in_plain_decode(path, frames.images, frames.times + 0.04).any()
    wrong = frames.images.copy()
    wrong[1, 0, 0, 0] ^= 1
    assert np.array_equal(fuzz_work.in_plain_decode(path, wrong, frames.times), [True, False, True])
