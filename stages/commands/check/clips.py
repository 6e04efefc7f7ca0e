"""The clips of a corpus: which cannot be used, and how long the others last."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stages.commands.check.findings import ERROR, OK, WARNING, Finding, some
from stages.corpora.span import Span, used_part
from stages.corpora.utterance import Utterance
from stages.extraction.workers import of_each
from stages.media.probe import APART, Probed, far_apart, probe
from stages.runtime.errors import ClipError, UserError

MODALITIES = {"video": "visual", "audio": "acoustic"}
KINDS = tuple(MODALITIES)
CALLED = {"video": "face", "audio": "voice"}
Part = tuple[str, Span | None, str]
POINTER = "lfs_pointer"  # for the stages no code but an error


@dataclass(frozen=True)
class Clips:
    """The utterances of a corpus, and what the packets of their files say (stages.media.probe).

    Attributes:
        probed: by file, and the span and the half of its picture that an utterance is.
    """

    utterances: list[Utterance]
    probed: dict[Part, Probed]

    def with_kind(self, kind: str) -> list[tuple[Utterance, float | ClipError]]:
        """The utterances that have a "video" or an "audio": its seconds, or why it is no use."""
        found = [(item, part_of(item, kind)) for item in self.utterances]
        return [(item, self.probed[part][kind]) for item, part in found if part[0]]

    def usable(self, kind: str) -> dict[Utterance, float]:
        """Those that can be used, with their seconds; 0 where the packets do not say."""
        found = self.with_kind(kind)
        return {item: seconds for item, seconds in found if not isinstance(seconds, ClipError)}

    def broken(self, kind: str) -> dict[Utterance, ClipError]:
        """Those that cannot be used, and why."""
        return {item: why for item, why in self.with_kind(kind) if isinstance(why, ClipError)}

    def without_pointers(self, kind: str) -> list[Utterance]:
        """Those that have one, usable or not, but for what Git LFS has not fetched."""
        broken = self.broken(kind)
        found = [item for item, _ in self.with_kind(kind)]
        return [item for item in found if item not in broken or broken[item].code != POINTER]

    def with_errors(self, kind: str, errors: Mapping[str, ClipError]) -> "Clips":
        """The same, with what decoding found: why utterances, by id, cannot be used."""
        probed = dict(self.probed)
        for item in self.utterances:
            if item.id in errors:
                part = part_of(item, kind)
                probed[part] = probed[part] | {kind: errors[item.id]}
        return Clips(self.utterances, probed)


def part_of(utterance: Utterance, kind: str) -> Part:
    """The file of an utterance, "" where it has none, and the span and the half of it."""
    part = used_part(vars(utterance), kind)
    return getattr(utterance, kind), part.get("span"), part.get("crop", "")


def scan(root: Path, utterances: list[Utterance], min_seconds: float, label: str) -> Clips:
    """Read the packets of every file, or span of it, that an utterance names."""
    kinds: dict[Part, set[str]] = {}
    for item in utterances:
        for kind in KINDS:
            if getattr(item, kind):
                kinds.setdefault(part_of(item, kind), set()).add(kind)
    asked = [
        (root / part[0], {"kinds": sorted(wanted), "span": part[1]})
        for part, wanted in kinds.items()
    ]
    answers = of_each(probe, asked, label)
    probed = {}
    for (part, wanted), found in zip(kinds.items(), answers):
        if isinstance(found, UserError):  # the only one there is for a single file
            found = ClipError(POINTER, "is a Git LFS pointer, not the media itself")
        probed[part] = dict.fromkeys(wanted, found) if isinstance(found, ClipError) else found
        seconds = probed[part].get("audio")
        if isinstance(seconds, float) and 0 < seconds < min_seconds:
            why = f"{seconds:.3f} s of audio; the minimum is {min_seconds:g} s"
            probed[part]["audio"] = ClipError("too_short", why)
    return Clips(utterances, probed)


def file_findings(clips: Clips, root: Path) -> Iterator[Finding]:
    """Which files are Git LFS pointers, and how many are there to their ends."""
    pointers, broken = [], 0
    files = "files" if not any(span for _, span, _ in clips.probed) else "parts of files"
    for (file, _, _), probed in clips.probed.items():
        codes = {why.code for why in probed.values() if isinstance(why, ClipError)}
        if POINTER in codes:
            pointers.append(file)
        broken += bool(codes)
    if pointers:
        yield Finding(
            ERROR,
            f"{len(pointers)} of {len(clips.probed)} {files} are Git LFS pointers, not the media "
            f"themselves: the stages would stop; run `git lfs pull` in {root}",
            some(pointers),
        )
    whole = len(clips.probed) - broken
    if whole:
        text = f"{whole:,} of {len(clips.probed):,} {files} can be opened and are there to their"
        yield Finding(OK, f"{text} ends")


def duration_findings(clips: Clips, max_seconds: float) -> Iterator[Finding]:
    """How long faces and voices last, and where those of one utterance do not match."""
    for kind in KINDS:
        usable = clips.usable(kind).values()
        if not usable:
            yield Finding(WARNING, f"no {CALLED[kind]}s")
        if not (values := sorted(seconds for seconds in usable if seconds)):
            continue  # pictures
        yield Finding(
            OK,
            f"{CALLED[kind]}s last {timedelta(seconds=round(sum(values)))} in all: shortest "
            f"{values[0]:.2f} s, median {statistics.median(values):.2f} s, longest "
            f"{values[-1]:.2f} s",
        )
    seen, heard = clips.usable("video"), clips.usable("audio")
    long = [f"{item.id}  {value:.1f} s" for item, value in heard.items() if value > max_seconds]
    if long:
        text = f"cut off after mels.max_seconds: {max_seconds:g}, {len(long)} of {len(heard)}"
        yield Finding(WARNING, text, some(long))
    both = seen.keys() & heard.keys()
    apart = [
        f"{item.id}  face {seen[item]:.2f} s, voice {heard[item]:.2f} s"
        for item in seen
        if item in both and far_apart(seen[item], heard[item])
    ]
    if apart:
        yield Finding(
            WARNING,
            f"face and voice differ in length by more than {APART:.0%} in {len(apart)} of "
            f"{len(both)} utterances: perhaps they are cut wrongly, or are not of one take",
            some(apart),
        )
