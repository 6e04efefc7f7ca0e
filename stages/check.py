"""Check: what to know of a corpus before the hour that its extraction may take.

    python -m stages.check CORPUS

In:  data/raw/<corpus>/, params.yaml and the weights in torch.hub's cache
Out: on stdout what is fine, what is worth knowing and what must be mended; no file is written.
     Exit code 0 where nothing must be mended, 1 where something must, and 2 where there is no such
     corpus or params.yaml is wrong.

The packets of every clip are read, and of a few the face and the voice are looked for as the
stages do it. What shows only when it is decoded shows in those few alone.
"""

import argparse
import math
import os
import shutil
import statistics
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import joblib
import numpy as np

from stages.arrays import SPARE_BYTES
from stages.clip_cache import cache_folder
from stages.command import run
from stages.corpora.utterance import Listing, Utterance
from stages.emotions import EMOTIONS
from stages.failures import ClipError, UserError
from stages.guard import guards
from stages.manifest import RAW, list_corpus, named, skipped_rows, summary
from stages.media.audio import check_speech, read_audio
from stages.media.probe import APART, Probed, far_apart
from stages.params import load, refuse_random_weights, section
from stages.progress import track
from stages.protocols import Rows, assign_roles, require_classes
from stages.remote import AGENT
from stages.sizes import CROPS, features_bytes, frames_bytes, mels_bytes
from stages.skips import skip_row, skipped_unevenly, too_many

FINE, KNOW, MEND = "fine", "worth knowing", "must be mended"
KINDS = ("video", "audio")
CALLED = {"video": "face", "audio": "voice"}
POINTER = "lfs_pointer"  # for the stages no code but an error
SAMPLE = 12  # clips that are decoded
SHOWN = 6  # files that are named of many
WIDTH = 100  # of a line, where the terminal is not narrower
UNLIKELY = 0.01  # chance of as many bad clips in the sample as there are
REPLY_SECONDS = 5.0
PROTOCOLS = ("paper", "speaker", "sentence", "speaker_sentence", "official")
MOST_FOLDS = 10  # that are tried out to say what can be done


class Finding(NamedTuple):
    """One thing found; `lines` stand below it as they are."""

    state: str
    text: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Clips:
    """The utterances of a corpus, and what the packets of their files tell (stages.media.probe)."""

    utterances: list[Utterance]
    probed: dict[str, Probed]

    def with_kind(self, kind: str) -> list[tuple[Utterance, float | ClipError]]:
        """The utterances that have a "video" or an "audio": its seconds, or why it is no use."""
        found = [(item, getattr(item, kind)) for item in self.utterances]
        return [(item, self.probed[name][kind]) for item, name in found if name]

    def usable(self, kind: str) -> dict[Utterance, float]:
        """Those that can be used, with their seconds; 0 where the packets do not tell."""
        found = self.with_kind(kind)
        return {item: seconds for item, seconds in found if not isinstance(seconds, ClipError)}

    def broken(self, kind: str) -> dict[Utterance, ClipError]:
        """Those that cannot be used, and why."""
        return {item: why for item, why in self.with_kind(kind) if isinstance(why, ClipError)}


@dataclass(frozen=True)
class Task:
    """What would be trained and tested with the corpus: faces of `visual`, voices of `acoustic`."""

    visual: list[str]
    acoustic: str
    faces: Rows
    voices: Rows

    def rows(self, kind: str) -> Rows:
        return self.faces if kind == "video" else self.voices

    def takes(self, kind: str, corpus: str) -> bool:
        """Whether the task takes this kind from the corpus."""
        return corpus in self.visual if kind == "video" else corpus == self.acoustic


# Each clip of a corpus, in child processes.


def outcomes(
    process: str, clips: Sequence[tuple[Path, Mapping[str, Any]]], label: str
) -> list[Any]:
    """What the function `process`, "module:function", makes of each clip with its settings.

    A ClipError or a UserError that it raises stands in the place of the result.
    """
    cores = joblib.cpu_count()
    # The children end first, so that no thread waits for one.
    with ThreadPoolExecutor(cores) as threads, guards(cores) as call:

        def attempt(clip: tuple[Path, Mapping[str, Any]]) -> Any:
            try:
                return call(process, *clip)
            except (ClipError, UserError) as error:
                return error

        return list(track(threads.map(attempt, clips), len(clips), label, "clips"))


def scan(root: Path, utterances: list[Utterance], min_seconds: float, label: str) -> Clips:
    """Read the packets of every file that an utterance names."""
    kinds: dict[str, set[str]] = {}
    for item in utterances:
        for kind in KINDS:
            if getattr(item, kind):
                kinds.setdefault(getattr(item, kind), set()).add(kind)
    asked = [(root / name, {"kinds": sorted(wanted)}) for name, wanted in kinds.items()]
    answers = outcomes("stages.media.probe:probe", asked, label)
    probed = {}
    for (name, wanted), found in zip(kinds.items(), answers):
        if isinstance(found, UserError):  # the only one there is for a single file
            found = ClipError(POINTER, "is a Git LFS pointer, not the media itself")
        probed[name] = dict.fromkeys(wanted, found) if isinstance(found, ClipError) else found
        seconds = probed[name].get("audio")
        if isinstance(seconds, float) and 0 < seconds < min_seconds:
            why = f"{seconds:.3f} s of sound; the least is {min_seconds:g} s"
            probed[name]["audio"] = ClipError("too_short", why)
    return Clips(utterances, probed)


def see(path: Path, **settings: Any) -> tuple[int, float]:
    """How many of V1 V2 V3 show a face, and the seconds that the stage frames takes for a clip."""
    from stages.device import pick_device
    from stages.frames import clip_faces
    from stages.media.faces import make_aligner, make_detector

    # Networks are loaded once, which is no part of what a clip takes.
    make_detector(settings["detector"], settings["min_face"], pick_device())
    if settings["align"]:
        make_aligner(pick_device())
    start = time.perf_counter()
    faces = clip_faces(path, **settings | {"no_face": "centre_crop"}, device=pick_device())
    return int(np.count_nonzero(faces.found)), time.perf_counter() - start


def hear(path: Path, sample_rate: int, surround: str, min_seconds: float) -> float:
    """The loudest sample of a voice, of full scale."""
    wave = read_audio(path, sample_rate, surround=surround)
    check_speech(wave, sample_rate, min_seconds)
    return float(np.abs(wave).max())


# What is found, a section of the report each.


def corpus_findings(
    corpus: str, listing: Listing, params: Mapping[str, Any]
) -> Iterator[Finding]:
    """What there is, what is missing, and whether params.yaml names the corpus."""
    counts, *others = summary(listing)
    yield Finding(FINE, counts)
    codes = Counter(code for _, code, _ in listing.excluded)
    if codes:
        yield Finding(FINE, f"left out by rule: {listed(codes)}")
    for line in others:
        yield Finding(KNOW, line)
    largest, total = params["max_skip_fraction"], named(listing)
    if too_many(skipped_rows(listing), total, largest):
        yield Finding(
            MEND,
            f"{len(listing.missing)} of {total} utterances are missing, more than "
            f"max_skip_fraction={largest:g}: the stage manifest would stop; put the files there, "
            "or raise max_skip_fraction",
        )
    to_write = [
        *(["corpora:", *(f"  - {name}" for name in [*params["corpora"], corpus])]
          if corpus not in params["corpora"] else []),
        "visual:", f"  - {corpus}", f"acoustic: {corpus}",
    ]  # fmt: skip
    if corpus not in params["corpora"]:
        yield Finding(KNOW, "params.yaml does not name it yet; write there", to_write)
    elif corpus not in [*params["visual"], params["acoustic"]]:
        text = "params.yaml extracts it and does not train on it; to do so, write there"
        yield Finding(KNOW, text, to_write)


def clip_findings(clips: Clips, root: Path, max_skip_fraction: float) -> Iterator[Finding]:
    """Which files cannot be used, and whether they are so many that a stage would stop."""
    broken: dict[str, str] = {}
    codes: Counter[str] = Counter()
    for name, probed in clips.probed.items():
        errors = {item.code: item.detail for item in probed.values() if isinstance(item, ClipError)}
        if errors:
            broken[name] = "; ".join(f"{code}: {detail}" for code, detail in errors.items())
            codes.update(errors.keys())
    pointers = [name for name, why in broken.items() if why.startswith(POINTER)]
    if pointers:
        yield Finding(
            MEND,
            f"{len(pointers)} of {len(clips.probed)} files are Git LFS pointers, not the media "
            f"themselves; run `git lfs pull` in {root}",
            some(pointers),
        )
    others = {name: why for name, why in broken.items() if name not in pointers}
    if others:
        stops, shares = False, []
        for stage, kind in (("frames", "video"), ("mels", "audio")):
            rows = [
                skip_row(asdict(item), stage, why.code, why.detail)
                for item, why in clips.broken(kind).items()
                if why.code != POINTER
            ]
            total = len(clips.with_kind(kind))
            stops = stops or too_many(rows, total, max_skip_fraction)
            if rows:
                shares.append(f"the stage {stage} leaves out {len(rows)} of {total}")
        del codes[POINTER]
        end = (
            f", and stops where they are more than max_skip_fraction={max_skip_fraction:g}; mend "
            "them, or raise it"
            if stops
            else f" (max_skip_fraction={max_skip_fraction:g} allows it)"
        )
        yield Finding(
            MEND if stops else KNOW,
            f"{len(others)} of {len(clips.probed)} files cannot be used ({listed(codes)}): "
            + " and ".join(shares) + end,
            some([f"{name}  {why}" for name, why in others.items()]),
        )
    whole = len(clips.probed) - len(broken)
    if whole:
        yield Finding(FINE, f"{whole} files can be opened and are there to their ends")


def emotion_findings(
    corpus: str, clips: Clips, task: Task, allow_missing: bool
) -> Iterator[Finding]:
    """How many there are of each emotion, which is absent, and which is broken more than others."""
    usable = {kind: clips.usable(kind) for kind in KINDS}
    all_of = Counter(item.emotion for item in clips.utterances)
    of = {kind: Counter(item.emotion for item in usable[kind]) for kind in KINDS}
    broken = {item for kind in KINDS for item in clips.broken(kind)}
    bad = Counter(item.emotion for item in broken)
    rows = [["", "utterances", "faces", "voices", "broken"]]
    for emotion in EMOTIONS:
        cells = [all_of[emotion], of["video"][emotion], of["audio"][emotion], bad[emotion]]
        rows.append([emotion, *map(str, cells)])
    present = sum(all_of[emotion] > 0 for emotion in EMOTIONS)
    text = f"{present} of the seven emotions; faces and voices are those that can be used"
    yield Finding(FINE, text, table(rows))
    for kind in KINDS:
        absent = [emotion for emotion in EMOTIONS if not of[kind][emotion]]
        if not absent or not of[kind]:
            continue  # "no faces at all" is another matter
        text = f"no {CALLED[kind]} of {', '.join(absent)}"
        elsewhere = {row["emotion"] for row in task.rows(kind)}
        if elsewhere >= set(absent):
            yield Finding(KNOW, f"{text}; other corpora of params.yaml have them")
        elif allow_missing or not task.takes(kind, corpus):
            yield Finding(KNOW, f"{text}; allow_missing_classes is {str(allow_missing).lower()}")
        else:
            text += ": the stage split would stop; set allow_missing_classes: true, or add a corpus"
            yield Finding(MEND, f"{text} that has them")
    for item in skipped_unevenly(bad, all_of):
        yield Finding(
            KNOW,
            f"{item.emotion} is broken far more often than the other emotions: {item.skipped} of "
            f"{item.total} against {item.others_skipped} of {item.others_total}",
        )


def speaker_findings(clips: Clips, task: Task, params: Mapping[str, Any]) -> Iterator[Finding]:
    """Who speaks, what is said, and whether the protocol can be carried out."""
    counts = Counter(item.speaker for item in clips.utterances).most_common()
    (most, highest), (fewest, lowest) = counts[0], counts[-1]
    if len(counts) == 1:
        yield Finding(KNOW, f"1 speaker, {most}: results hold for that one person")
    else:
        yield Finding(
            FINE,
            f"{len(counts)} speakers; the fewest utterances are of {fewest} ({lowest}), the most "
            f"of {most} ({highest})",
        )
    said = [item.sentence for item in clips.utterances if item.sentence]
    if len(said) == len(clips.utterances):
        yield Finding(FINE, f"sentences: {len(set(said))} different ones")
    else:
        yield Finding(
            KNOW,
            f"the sentence is known of {len(said)} of {len(clips.utterances)} utterances; "
            "protocols sentence and speaker_sentence need all",
        )
    yield protocol_finding(task, params)


def protocol_finding(task: Task, params: Mapping[str, Any]) -> Finding:
    """Whether the protocol of params.yaml can be carried out, or what could be instead."""
    protocol, folds = params["protocol"], params["folds"]
    for kind, corpora in (("video", ", ".join(task.visual)), ("audio", task.acoustic)):
        if not task.rows(kind):
            return Finding(MEND, f"{corpora}: no {CALLED[kind]} that can be used; the stage split "
                                 "would stop")  # fmt: skip
    # What the whole corpus lacks is said already.
    whole = all(len({row["emotion"] for row in task.rows(kind)}) == len(EMOTIONS) for kind in KINDS)
    allow = params["allow_missing_classes"] or not whole

    def refusal(protocol: str, folds: int) -> str | None:
        try:
            rows = assign_roles(
                task.faces, task.voices, protocol, folds, params["validation"], params["seed"]
            )
            columns = sum(name.startswith("fold_") for name in rows[0])
            require_classes(rows, columns, allow)
        except UserError as error:
            return str(error)
        return None

    why = refusal(protocol, folds)
    what = f"{len(task.voices)} voices of {task.acoustic} and {len(task.faces)} faces of " + (
        ", ".join(task.visual)
    )
    if why is None:
        text = f"protocol {protocol} with folds: {folds} can be carried out with {what}"
        return Finding(FINE, text)
    possible = []
    for name in PROTOCOLS:
        tried = [1] if name == "official" else range(min(max(folds, 5), MOST_FOLDS), 1, -1)
        most = next((count for count in tried if refusal(name, count) is None), None)
        if most is not None:
            possible.append(f"{name} with folds: {most}")
    instead = ", ".join(possible) or "no protocol"
    return Finding(MEND, f"{why}. With {what} can be carried out: {instead}")


def duration_findings(clips: Clips, max_seconds: float) -> Iterator[Finding]:
    """How long faces and voices last, and where those of one utterance do not match."""
    for kind in KINDS:
        seconds = {item: value for item, value in clips.usable(kind).items() if value}
        if not seconds:
            yield Finding(KNOW, f"no {CALLED[kind]}s")
            continue
        values = sorted(seconds.values())
        yield Finding(
            FINE,
            f"{CALLED[kind]}s last {timedelta(seconds=round(sum(values)))} in all: shortest "
            f"{values[0]:.2f} s, median {statistics.median(values):.2f} s, longest "
            f"{values[-1]:.2f} s",
        )
        long = [
            f"{item.id}  {value:.1f} s" for item, value in seconds.items() if value > max_seconds
        ]
        if kind == "audio" and long:
            text = f"cut off after mels.max_seconds={max_seconds:g}: {len(long)} of {len(values)}"
            yield Finding(KNOW, text, some(long))
    seen, heard = clips.usable("video"), clips.usable("audio")
    both = [item for item in seen if seen[item] and heard.get(item)]
    apart = [
        f"{item.id}  face {seen[item]:.2f} s, voice {heard[item]:.2f} s"
        for item in both
        if far_apart(seen[item], heard[item])
    ]
    if apart:
        yield Finding(
            KNOW,
            f"face and voice differ in length by more than {APART:.0%} in {len(apart)} of "
            f"{len(both)} utterances: perhaps they are cut wrongly, or are not of one take",
            some(apart),
        )


def weight_findings(
    corpus: str, frames: Mapping[str, Any], features: Mapping[str, Any]
) -> tuple[list[Finding], bool]:
    """Whether the weights that params.yaml asks for are there; and whether those for frames are."""
    found = []
    wanted = []
    # torch takes seconds to load, and is not needed where there are no weights to look for.
    if frames["detector"] != "haar" or frames["align"]:
        from stages.media.faces import aligner_url, detector_urls

        wanted += [(f"frames.detector {frames['detector']}", url)
                   for url in detector_urls(frames["detector"])]  # fmt: skip
        wanted += [("frames.align", aligner_url())] if frames["align"] else []
    for_frames = len(wanted)
    if features["weights"] == "random":
        try:
            refuse_random_weights(corpus, "random", features["allow_random_weights"])
            found.append(Finding(FINE, f"features.backbone {features['backbone']}: random weights"))
        except UserError as error:
            found.append(Finding(MEND, str(error)))
    else:
        from stages.backbone import imagenet_weights

        try:
            url = imagenet_weights(features["backbone"]).url
            wanted.append((f"features.backbone {features['backbone']}", url))
        except UserError as error:
            found.append(Finding(MEND, str(error)))
    with ThreadPoolExecutor(max(1, len(wanted))) as threads:
        states = list(threads.map(lambda item: weights_finding(*item), wanted))
    if frames["detector"] == "haar":
        found.insert(0, Finding(FINE, "frames.detector haar: part of OpenCV"))
    at_hand = all(there for _, there in states[:for_frames])
    return [*found, *(finding for finding, _ in states)], at_hand


def weights_finding(what: str, url: str) -> tuple[Finding, bool]:
    """Whether a file of weights is in torch.hub's cache or can be fetched; and if it is there."""
    from stages.media.faces import file_name
    from stages.weights import checkpoint_path, sha256_prefix_ok

    path = checkpoint_path(file_name(url))
    if path.exists():
        if sha256_prefix_ok(path):
            return Finding(FINE, f"{what}: {path}"), True
        finding = Finding(
            KNOW,  # the stages, too, warn of it and go on
            f"{what}: {path} has not the SHA-256 that its name promises: it is damaged, or holds "
            f"other weights than {url}",
        )
        return finding, True
    try:
        request = Request(url, method="HEAD", headers=AGENT)
        with urlopen(request, timeout=REPLY_SECONDS) as reply:
            size = int(reply.headers.get("Content-Length") or 0)
    except (OSError, HTTPException, ValueError) as error:
        finding = Finding(
            MEND,
            f"{what}: not in the cache, and {url} cannot be reached "
            f"({' '.join(str(error).split()) or type(error).__name__}); fetch it where there is a "
            f"network and put it at {path}",
        )
        return finding, False
    text = f"{what}: not in the cache; will be fetched from {url} ({amount(size)}) to {path}"
    return Finding(KNOW, text), False


def face_findings(
    root: Path, clips: Clips, settings: Mapping[str, Any], largest: float, label: str
) -> tuple[list[Finding], float]:
    """Whether the detector finds faces in a few clips; and the seconds that a clip takes, or 0."""
    chosen = spread(clips.usable("video"), SAMPLE)
    asked = [(root / item.video, settings) for item in chosen]
    answers = outcomes("stages.check:see", asked, f"{label} sample of faces")
    found = []
    for error in {str(item): item for item in answers if isinstance(item, UserError)}:
        found.append(Finding(MEND, error))
    failed = [(item, why) for item, why in zip(chosen, answers) if isinstance(why, ClipError)]
    looked = [(item, *seen) for item, seen in zip(chosen, answers) if isinstance(seen, tuple)]
    found += decoding(failed, len(chosen), "faces", largest)
    if not looked:
        return found, 0.0
    faceless = [item.video for item, count, _ in looked if count == 0]
    with_face, frames = sum(count for _, count, _ in looked), CROPS * len(looked)
    text = (
        f"{settings['detector']} finds a face in {with_face} of {frames} frames of {len(looked)} "
        "clips"
    )
    if faceless:
        text += f", and none in {len(faceless)} of the clips"
    no_face = settings["no_face"]
    stops = no_face != "centre_crop" and surely_more(len(faceless), len(looked), largest)
    if with_face < frames:
        text += f"; frames.no_face is {no_face}"
    if with_face == 0 or stops:
        text += "; look at a clip, and try another frames.detector or a smaller frames.min_face"
        found.append(Finding(MEND, text, some(faceless)))
    else:
        state = FINE if with_face == frames else KNOW
        found.append(Finding(state, text, some(faceless)))
    return found, statistics.median(seconds for _, _, seconds in looked)


def voice_findings(
    root: Path, clips: Clips, mels: Mapping[str, Any], largest: float, label: str
) -> list[Finding]:
    """Whether a few clips decode to sound, and how loud it is."""
    chosen = spread(clips.usable("audio"), SAMPLE)
    settings = {key: mels[key] for key in ("sample_rate", "surround", "min_seconds")}
    asked = [(root / item.audio, settings) for item in chosen]
    answers = outcomes("stages.check:hear", asked, f"{label} sample of voices")
    failed = [(item, why) for item, why in zip(chosen, answers) if isinstance(why, ClipError)]
    peaks = [20 * math.log10(peak) for peak in answers if isinstance(peak, float)]
    found = decoding(failed, len(chosen), "voices", largest)
    if peaks:
        found.append(
            Finding(
                FINE,
                f"{len(peaks)} of {len(chosen)} voices are heard; their loudest samples are "
                f"{min(peaks):.0f} to {max(peaks):.0f} dB of full scale",
            )
        )
    return found


def decoding(
    failed: Sequence[tuple[Utterance, ClipError]], total: int, what: str, largest: float
) -> list[Finding]:
    """What to say of those of a sample that could not be used."""
    if not failed:
        return []
    codes = Counter(why.code for _, why in failed)
    text = f"{len(failed)} of {total} {what} looked at cannot be used ({listed(codes)})"
    lines = some([f"{item.id}  {why.code}: {why.detail}" for item, why in failed])
    if surely_more(len(failed), total, largest):
        text += f": of all there are probably more than max_skip_fraction={largest:g}"
        return [Finding(MEND, f"{text}; mend them, or raise it", lines)]
    return [Finding(KNOW, text, lines)]


def space_findings(
    clips: Clips, frames: Mapping[str, Any], mels: Mapping[str, Any]
) -> Iterator[Finding]:
    """What the stages write on each disk, against what is free there."""
    faces, heard = clips.usable("video"), clips.usable("audio")
    seconds = sum(min(value, mels["max_seconds"]) for value in heard.values())
    made = {
        Path("data/frames"): frames_bytes(len(faces), frames["size"]),
        Path("data/mels"): mels_bytes(len(heard), seconds, mels),
        Path("data/features"): features_bytes(len(faces), len(heard)),
    }
    kept = made[Path("data/frames")] + made[Path("data/mels")]
    needs = {**made, Path(".dvc/cache"): sum(made.values()), cache_folder(): kept}
    disks: dict[int, list[Path]] = {}
    for path in needs:
        disks.setdefault(os.stat(existing(path)).st_dev, []).append(path)
    for paths in disks.values():
        free = shutil.disk_usage(existing(paths[0])).free
        needed = sum(needs[path] for path in paths)
        text = (
            f"{', '.join(f'{path} {amount(needs[path])}' for path in paths)}: about "
            f"{amount(needed)} in all, {amount(free)} are free on that disk"
        )
        if free < needed + SPARE_BYTES:
            yield Finding(MEND, f"{text}; make room, or set FDAN_CACHE to a folder elsewhere")
        else:
            yield Finding(FINE, text)


# Small things that the sections share.


def task_of(corpus: str, clips: Clips, params: Mapping[str, Any]) -> tuple[Task, list[Finding]]:
    """The task that the corpus is part of: that of params.yaml, or else one of its own."""
    visual, acoustic = params["visual"], params["acoustic"]
    if corpus not in [*visual, acoustic]:
        visual, acoustic = [corpus], corpus
    found = []
    utterances = {(corpus, kind): list(clips.usable(kind)) for kind in KINDS}
    for other in {*visual, acoustic} - {corpus}:
        try:
            listing = list_corpus(RAW / other, other)
        except UserError as error:
            found.append(Finding(MEND, f"params.yaml trains on {other} too: {error}"))
            listing = Listing()
        for kind in KINDS:
            utterances[other, kind] = [
                item for item in listing.utterances if getattr(item, kind)
            ]

    def rows(corpora: Iterable[str], kind: str, modality: str) -> Rows:
        chosen = [item for name in corpora for item in utterances[name, kind]]
        return [asdict(item) | {"modality": modality} for item in sorted(chosen, key=_id)]

    task = Task(
        visual, acoustic, rows(visual, "video", "visual"), rows([acoustic], "audio", "acoustic")
    )
    return task, found


def spread(utterances: Iterable[Utterance], count: int) -> list[Utterance]:
    """Some of the utterances, of as many emotions and speakers as can be; always the same."""
    left = sorted(utterances, key=_id)
    emotions: Counter[str] = Counter()
    speakers: Counter[str] = Counter()
    chosen = []
    while left and len(chosen) < count:
        item = min(left, key=lambda item: (emotions[item.emotion], speakers[item.speaker]))
        left.remove(item)
        chosen.append(item)
        emotions[item.emotion] += 1
        speakers[item.speaker] += 1
    return chosen


def surely_more(bad: int, sample: int, share: float) -> bool:
    """Whether so many bad ones in a sample would hardly happen if only `share` of all were bad."""
    chance = sum(
        math.comb(sample, k) * share**k * (1 - share) ** (sample - k)
        for k in range(bad, sample + 1)
    )
    return bad > 0 and chance < UNLIKELY


def existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in [path, *path.parents] if folder.exists())


def amount(size: float) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def span(seconds: float) -> str:
    """A time as a person reads it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def listed(counts: Counter[str]) -> str:
    """E.g. "3 truncated, 1 unreadable"."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def some(names: Sequence[str]) -> list[str]:
    """The first of some lines, and how many more there are."""
    lines = [name if name.isprintable() else repr(name) for name in names[:SHOWN]]
    return lines + ([f"... and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])


def table(rows: list[list[str]]) -> list[str]:
    """Lines with the first column to the left and the others, which are numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def _id(item: Utterance) -> str:
    return item.id


# The report.


def report(corpus: str) -> Iterator[tuple[str, Iterable[Finding]]]:
    """The sections of the report, each made when it is asked for.

    Raises:
        UserError: no such corpus, its folder is not there, or params.yaml is wrong.
    """
    params = load(
        "corpora",
        "visual",
        "acoustic",
        "protocol",
        "folds",
        "validation",
        "seed",
        "allow_missing_classes",
        "max_skip_fraction",
    )
    frames, mels, features = section("frames"), section("mels"), section("features")
    largest = params["max_skip_fraction"]
    root, label = RAW / corpus, f"check@{corpus}"
    listing = list_corpus(root, corpus)
    yield "Corpus", corpus_findings(corpus, listing, params)
    clips = scan(root, listing.utterances, mels["min_seconds"], label)
    yield "Files", clip_findings(clips, root, largest)
    task, absent = task_of(corpus, clips, params)
    yield "Emotions", emotion_findings(corpus, clips, task, params["allow_missing_classes"])
    yield "Speakers and protocol", [*absent, *speaker_findings(clips, task, params)]
    yield "Durations", duration_findings(clips, mels["max_seconds"])
    weights, at_hand = weight_findings(corpus, frames, features)
    yield "Weights", weights
    looked, seconds = [], 0.0
    n_faces = len(clips.usable("video"))
    if n_faces and at_hand:
        looked, seconds = face_findings(root, clips, frames, largest, label)
    elif n_faces:
        text = f"faces were not looked for, as the weights of {frames['detector']} are not there"
        looked = [Finding(KNOW, text)]
    if clips.usable("audio"):
        looked += voice_findings(root, clips, mels, largest, label)
    yield f"A sample of {SAMPLE}", looked
    needs = list(space_findings(clips, frames, mels))
    if seconds:
        cores = joblib.cpu_count()
        needs.append(
            Finding(
                FINE,
                f"the stage frames takes about {span(n_faces * seconds / cores)} for {n_faces} "
                f"clips on {cores} cores: an estimate from the sample, {seconds:.2f} s a clip",
            )
        )
    yield "Space and time", needs


def show(finding: Finding) -> str:
    """A finding as text, its state to the left."""
    head = f"  {finding.state:{len(MEND)}}  "
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    text = textwrap.fill(
        finding.text,
        max(60, min(columns, WIDTH)),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([text, *(f"{' ' * len(head)}  {line}" for line in finding.lines)])


def next_command(corpus: str) -> str:
    """What to run once nothing must be mended."""
    params = load("corpora", "visual", "acoustic")
    if corpus in params["corpora"] and corpus not in [*params["visual"], params["acoustic"]]:
        return f"dvc repro features@{corpus} contact_sheet@{corpus}"
    return "dvc repro" if corpus == "sample" else "dvc repro evaluate contact_sheet"


def conclusion(corpus: str, states: Counter[str]) -> str:
    """The last line: how many things must be mended, and what to run next."""
    count = states[MEND]
    if count:
        many = f"{count} things" if count > 1 else "1 thing"
        return f"{many} must be mended; then run this check again, and {next_command(corpus)}"
    named = corpus in load("corpora")["corpora"]
    first = "" if named else "name the corpus in params.yaml, and "
    return f"nothing must be mended; next: {first}{next_command(corpus)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="the name of a folder in data/raw, e.g. ravdess")
    corpus = parser.parse_args().corpus
    states: Counter[str] = Counter()
    for title, findings in report(corpus):
        print(title, flush=True)
        for finding in findings:
            states[finding.state] += 1
            print(show(finding), flush=True)
    print(f"\n{conclusion(corpus, states)}")
    if states[MEND]:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
