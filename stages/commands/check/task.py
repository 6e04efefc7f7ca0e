"""The task that a corpus is part of: its emotions, its speakers, and whether they can be split."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple, get_args

from tabulate import tabulate

from stages.commands.check.clips import CALLED, KINDS, MODALITIES, Clips
from stages.commands.check.findings import ERROR, OK, WARNING, Finding
from stages.corpora.emotions import task_classes
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing
from stages.io.skips import skipped_unevenly
from stages.preflight.division import Division, classes_of, role_problems
from stages.runtime.errors import UserError
from stages.runtime.params import Params
from stages.runtime.paths import RAW
from stages.splits.protocols import Rows
from stages.splits.samples import Pairs

PROTOCOLS = get_args(Params.model_fields["protocol"].annotation)
MOST_FOLDS = 10  # that are tried out to say what can be done


class Task(NamedTuple):
    """What would be trained and tested.

    Attributes:
        corpora, rows: by kind ("video", "audio").
        division: as params.yaml has it; a corpus that it does not name is tested itself.
        classes: the emotions of the task.
    """

    corpora: dict[str, list[str]]
    rows: dict[str, Rows]
    division: Division
    classes: Sequence[str]


def task_of(corpus: str, clips: Clips, params: Mapping[str, Any]) -> tuple[Task, list[Finding]]:
    """The task of params.yaml if it takes from the corpus, or else one of the corpus alone.

    Also what to say of the other corpora.
    """
    division = Division(**{name: params[name] for name in Division._fields})
    corpora = {"video": division.visual, "audio": division.heard}
    if corpus not in [*division.visual, *division.heard]:
        corpora = {"video": [corpus], "audio": [corpus]}
        division = division._replace(test="")
    found = []
    listings = {}
    for name in {*corpora["video"], *corpora["audio"]} - {corpus}:
        try:
            listings[name] = list_corpus(RAW / name, name)
        except UserError as error:
            found.append(Finding(ERROR, f"params.yaml trains on {name} too: {error}"))
            listings[name] = Listing()
    rows: dict[str, Rows] = {}
    for kind, modality in MODALITIES.items():
        items = []
        for name in corpora[kind]:
            here = clips.usable(kind) if name == corpus else listings[name].utterances
            items += [item for item in here if getattr(item, kind)]
        items.sort(key=lambda item: item.id)
        rows[kind] = [asdict(item) | {"modality": modality} for item in items]
    try:
        classes = classes_of(division, {"acoustic": rows["audio"]})
    except UserError as error:
        found.append(Finding(ERROR, str(error)))
        division, classes = division._replace(test=""), task_classes(params["classes"])
    return Task(corpora, rows, division, classes), found


def emotion_findings(
    corpus: str, clips: Clips, task: Task, allow_missing: bool
) -> Iterator[Finding]:
    """How many there are of each class, which is absent, and which is broken more than others."""
    all_of = Counter(item.emotion for item in clips.utterances)
    of = {kind: Counter(item.emotion for item in clips.usable(kind)) for kind in KINDS}
    broken = {item for kind in KINDS for item in clips.broken(kind)}
    bad = Counter(item.emotion for item in broken)
    columns = {"utterances": all_of, "faces": of["video"], "voices": of["audio"], "broken": bad}
    classes = task.classes
    rows = [[emotion, *(counts[emotion] for counts in columns.values())] for emotion in classes]
    lines = tabulate(rows, ["", *columns], tablefmt="plain").splitlines()
    present = sum(all_of[emotion] > 0 for emotion in classes)
    text = f"{present} of {len(classes)} emotions; faces and voices are those that can be used"
    yield Finding(OK, text, lines)
    for kind in KINDS:
        absent = [emotion for emotion in classes if not of[kind][emotion]]
        if not absent or not of[kind]:
            continue  # "no faces at all" is another matter
        text = f"no {CALLED[kind]} of {', '.join(absent)}"
        if {row["emotion"] for row in task.rows[kind]} >= set(absent):
            yield Finding(WARNING, f"{text}; other corpora of params.yaml have them")
        elif allow_missing or corpus not in task.corpora[kind]:
            yield Finding(WARNING, f"{text}; allow_missing_classes is {str(allow_missing).lower()}")
        else:
            yield Finding(
                ERROR,
                f"{text}: the stage split would stop; set allow_missing_classes: true, add a "
                "corpus that has them, or leave them out of classes",
            )
    for item in skipped_unevenly(bad, all_of):
        yield Finding(
            WARNING,
            f"{item.emotion} is broken far more often than the other emotions: {item.skipped} of "
            f"{item.total} against {item.others_skipped} of {item.others_total}",
        )


def speaker_findings(clips: Clips) -> Iterator[Finding]:
    """Who speaks, and what is said."""
    counts = Counter(item.speaker for item in clips.utterances).most_common()
    (most, highest), (fewest, lowest) = counts[0], counts[-1]
    if not most:
        yield Finding(OK, "who is shown is not known")
    elif len(counts) == 1:
        yield Finding(WARNING, f"1 speaker, {most}: results hold for that one person")
    else:
        yield Finding(
            OK,
            f"{len(counts)} speakers; the fewest utterances are of {fewest} ({lowest}), the most "
            f"of {most} ({highest})",
        )
    said = [item.sentence for item in clips.utterances if item.sentence]
    if len(said) == len(clips.utterances):
        yield Finding(OK, f"sentences: {len(set(said))} different ones")
    else:
        yield Finding(
            WARNING,
            f"the sentence is known of {len(said)} of {len(clips.utterances)} utterances; "
            "protocols sentence and speaker_sentence need all",
        )


def protocol_finding(
    task: Task, params: Mapping[str, Any], equal: Mapping[str, Pairs], drop: bool
) -> Finding:
    """Whether the protocol of params.yaml can be carried out, or what could be instead.

    Args:
        equal: the copies, by modality.
        drop: leave them out, rather than refuse them.
    """
    rows = {modality: task.rows[kind] for kind, modality in MODALITIES.items()}
    needed = KINDS if not params["acoustic_only"] else ("audio",)
    for kind in needed:
        if not task.rows[kind]:
            named = ", ".join(task.corpora[kind]) or "visual: []"
            text = f"{named}: no {CALLED[kind]} that can be used; the stage split would stop"
            return Finding(ERROR, text)
    # What the whole corpus lacks is said already.
    classes = task.classes
    whole = all({row["emotion"] for row in task.rows[kind]} >= set(classes) for kind in needed)
    division = task.division._replace(
        allow_missing_classes=params["allow_missing_classes"] or not whole,
        duplicates="drop" if drop else "refuse",
    )

    @cache
    def refusal(protocol: str, folds: int) -> str:
        tried = division._replace(protocol=protocol, folds=folds)
        return ". ".join(role_problems(tried, rows, rows["visual"] + rows["acoustic"], equal))

    protocol, folds = division.protocol, division.folds
    why = refusal(protocol, folds)
    what = " and ".join(
        f"{sum(row['emotion'] in classes for row in task.rows[kind])} {CALLED[kind]}s of "
        f"{', '.join(task.corpora[kind])}"
        for kind in needed[::-1]
    )
    if not why:
        text = f"protocol {protocol} with folds: {folds} can be carried out with {what}"
        return Finding(OK, text)
    possible = []
    for name in PROTOCOLS:
        tried = [1] if name == "official" else range(min(max(folds, 5), MOST_FOLDS), 1, -1)
        most = next((count for count in tried if not refusal(name, count)), None)
        if most is not None:
            possible.append(f"{name} with folds: {most}")
    instead = ", ".join(possible) or "no protocol"
    return Finding(ERROR, f"{why}. With {what} can be carried out: {instead}")
