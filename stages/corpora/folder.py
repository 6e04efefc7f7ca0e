"""Your own clips: any folder with a table `utterances.csv` that says what is in it.

    id,speaker,emotion,video,audio,sentence,split
    anna_01,anna,happiness,clips/anna_01.mp4,clips/anna_01.mp4,hello,train
    anna_02,anna,anger,clips/anna_02.mp4,sound/anna_02.wav,goodbye,train
    ben_01,ben,neutral,,sound/ben_01.wav,hello,test

| column | what to write |
|---|---|
| `id` | a name of the recording that no other row has |
| `speaker` | who speaks, the same name for the same person |
| `emotion` | anger, disgust, fear, happiness, neutral, sadness, surprise; also angry, joy, ... |
| `video` | the clip with the face, relative to the folder and with `/`; empty where there is none |
| `audio` | the clip with the voice, which may be the same; empty where there is none |
| `sentence` | optional: what is said, or a number for it; protocol `sentence` needs it |
| `split` | optional: train, dev or test; protocol `official` needs it |
| `start`, `end` | optional: of an utterance in a longer file, in seconds or as h:mm:ss.s |
| `text` | optional: what is said, in words |
| `dialogue`, `turn` | optional: the conversation that it is part of, and its place in it: 1, 2 |
| `session` | optional: the recording session; protocol `session` needs it |
| `sex` | optional: of the speaker, female or male; `python -m stages fairness` compares them |

Other columns are ignored; clips that no row names are reported and not used. UTF-8 and what
spreadsheet programs save (Windows-1252, UTF-16, `;` or tabs instead of commas, CRLF) are read
alike. Ids, speakers and sentences are read in Unicode's composed form with single spaces, and files
are found in whichever form their names are; two speakers that differ in spelling alone (Anna and
anna, 07 and 7) are refused. Rows of one file whose times overlap hold the same speech, and are kept
out of training where the other is tested. Folders `folder_a` and `folder_b` are two variants of one
corpus: the same id is the same recording there, the same speaker the same person.

Instead of `utterances.csv` the table may be `metadata.csv`, as Hugging Face's audiofolder has it: a
column `file_name` stands for `video` and `audio`, and the file is its own `id` where there is none.
"""

import math
import os
import re
import unicodedata
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from stages.corpora.annotations import (
    SEXES,
    check_repeat,
    emotion_of,
    encoding_notes,
    quoted,
    read_rows,
)
from stages.corpora.overlaps import Stretch, overlaps
from stages.corpora.spelling import one_spelling
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import files_below, media_kind
from stages.runtime.errors import UserError

TABLE, AUDIOFOLDER = "utterances.csv", "metadata.csv"
REQUIRED = ("id", "speaker", "emotion", "video", "audio")
AUDIOFOLDER_REQUIRED = ("file_name", "speaker", "emotion")
OPTIONAL = ("sentence", "split", "start", "end", "text", "dialogue", "turn", "session", "sex")
SPLITS = ("train", "dev", "test")
TIME = re.compile(r"(?:([0-9]+):)?([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]*)?)", re.ASCII)
TURN = re.compile("[0-9]{1,9}", re.ASCII)
TO_THE_END = 1e9  # seconds: of a row without an end
LICENCE = ""  # only its owner knows
FIXED_SENTENCES = False
OBTAIN = f"make it, with your clips and a table {TABLE} (columns {', '.join(REQUIRED)})"
NAMES = f"name them in rows of {TABLE}"


def read(root: Path, corpus: str) -> Listing:
    """List the rows of the table in `root`.

    A row of whose two files one is missing is used for the other, and both missing for nothing.

    Raises:
        UserError: the table is missing, there twice or cannot be read; an id is empty or there
            twice, a speaker is empty or of two sexes, an emotion or split is not known, a span is
            none; a path leaves the folder; or two files have one name.
    """
    path = _find_table(root)
    if path.name == TABLE:
        table = read_rows(path, REQUIRED, OPTIONAL)
    else:
        table = read_rows(path, AUDIOFOLDER_REQUIRED, ("id", *OPTIONAL))
        for _, row in table:
            row["id"] = row["id"] or re.sub(r"\.[^./]*$", "", row["file_name"])
            is_video = media_kind(Path(row["file_name"])) == "video"
            row |= {"video": row["file_name"] if is_video else "", "audio": row["file_name"]}
    on_disk = _files_by_name(root)
    listing = Listing(notes=encoding_notes(path))
    lines: dict[Hashable, int] = {}
    sex_of: dict[str, tuple[str, int]] = {}
    untold: dict[str, None] = {}
    for line, row in table:
        utterance = _utterance(corpus, row, path, line)
        if utterance.sex:
            sex, first = sex_of.setdefault(utterance.speaker, (utterance.sex, line))
            if sex != utterance.sex:
                raise UserError(
                    f"{path}: line {line}: speaker {quoted(row['speaker'])} is {utterance.sex}, "
                    f"and {sex} in line {first}; fix one of them"
                )
        elif row["sex"]:
            untold[row["sex"]] = None
        check_repeat(lines, utterance.id, f"id {quoted(row['id'])}", path, line)
        files = {"video": utterance.video, "audio": utterance.audio}
        for name in files.values():
            _check_inside(root, name, path, line)
        here = {
            column: name if os.path.isfile(root / name) else on_disk.get(_composed(name), "")
            for column, name in files.items()
        }
        absent = sorted({name for column, name in files.items() if name and not here[column]})
        found = replace(utterance, **here)
        if absent:
            listing.missing.append((found, f"no file {', '.join(map(quoted, absent))}"))
        if any(here.values()):
            listing.utterances.append(found)
    if untold:
        listing.notes.append(
            f"sex is female or male in {path.name}; other words count as not told: "
            f"{first_five(untold)}"
        )
    others = _overlapping(root, listing.utterances)
    if others:
        listing.notes.append(
            f"{len(others)} utterances overlap others of the same file in time, and are not "
            f"learned from where these are tested: {first_five(others)}"
        )
    listing.utterances = [
        replace(item, overlaps="\t".join(others.get(item.id, ()))) for item in listing.utterances
    ]
    return listing


def _find_table(root: Path) -> Path:
    found = [root / name for name in (TABLE, AUDIOFOLDER) if (root / name).is_file()]
    if not found:
        raise UserError(
            f"{root / TABLE}: no such file; write one with columns {', '.join(REQUIRED)}"
        )
    if len(found) > 1:
        raise UserError(f"{root}: has {TABLE} and {AUDIOFOLDER}; keep one, or rename the other")
    return found[0]


def _files_by_name(root: Path) -> dict[str, str]:
    """The media below `root` by their composed names: a Mac writes them decomposed."""
    names: dict[str, str] = {}
    for path in files_below(root):
        name = path.relative_to(root).as_posix()
        if media_kind(path) and (first := names.setdefault(_composed(name), name)) != name:
            raise UserError(
                f"{root}: {ascii(first)} and {ascii(name)} are one name in two forms of Unicode; "
                "rename one of them"
            )
    return names


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _utterance(corpus: str, row: dict[str, str], path: Path, line: int) -> Utterance:
    spelt = ("id", "speaker", "sentence", "text", "dialogue", "session")
    row |= {column: one_spelling(row[column]) for column in spelt}
    for column in ("id", "speaker"):
        if not row[column] or not row[column].isprintable():
            raise UserError(f"{path}: line {line}: {column} {quoted(row[column])}: give it a name")
    split = row["split"].casefold()
    if split and split not in SPLITS:
        raise UserError(
            f"{path}: line {line}: split {quoted(row['split'])} is not known; write one of "
            f"{', '.join(SPLITS)}, or leave it empty"
        )
    if not row["video"] and not row["audio"]:
        raise UserError(f"{path}: line {line}: neither video nor audio; name at least one")
    if row["turn"] and not TURN.fullmatch(row["turn"]):
        raise UserError(
            f"{path}: line {line}: turn {quoted(row['turn'])} is not a whole number; write the "
            "position in the dialogue"
        )
    start, end = (_seconds(row[column], column, path, line) for column in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise UserError(
            f"{path}: line {line}: end {quoted(row['end'])} is not after start "
            f"{quoted(row['start'])}; fix them"
        )
    return Utterance(
        id=f"{corpus}/{row['id']}",
        speaker=f"folder/{row['speaker']}",
        emotion=emotion_of(row["emotion"], path, line),
        sentence=row["sentence"],
        split=split,
        video=PurePosixPath(row["video"]).as_posix() if row["video"] else "",
        audio=PurePosixPath(row["audio"]).as_posix() if row["audio"] else "",
        start="" if start is None else str(start),
        end="" if end is None else str(end),
        session=f"folder/{row['session']}" if row["session"] else "",
        dialogue=f"folder/{row['dialogue']}" if row["dialogue"] else "",
        turn=row["turn"],
        text=row["text"],
        sex=SEXES.get(row["sex"].casefold(), ""),
    )


def _seconds(text: str, column: str, path: Path, line: int) -> float | None:
    """Seconds of a cell, to the microsecond; None for an empty one."""
    if not text:
        return None
    number = text.replace(",", ".")
    seconds = math.nan
    if time := TIME.fullmatch(number):
        seconds = int(time[1] or 0) * 3600 + int(time[2]) * 60 + float(time[3])
    elif re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", number, re.ASCII | re.IGNORECASE):
        try:
            seconds = round(float(number), 6)
        except ValueError:
            seconds = math.nan
    if not 0 <= seconds < TO_THE_END:
        raise UserError(
            f"{path}: line {line}: {column} {quoted(text)} is no time; write seconds (12.5) or "
            "h:mm:ss.s (0:00:12.5), or leave it empty"
        )
    return seconds


def _overlapping(root: Path, utterances: list[Utterance]) -> dict[str, list[str]]:
    """For each utterance those that share time with it in a file that has several."""
    stretches: dict[tuple[str, str], Stretch] = {}
    cut = set()
    for item in utterances:
        for name in {item.video, item.audio} - {""}:
            file = os.path.realpath(root / name)  # one file may have several links to it
            end = float(item.end or TO_THE_END)
            stretches[item.id, file] = Stretch(file, float(item.start or 0), end)
            if item.start or item.end:
                cut.add(file)
    # Whole files are left to their features, which tell all copies.
    of_cut = {key: one for key, one in stretches.items() if one.recording in cut}
    found: dict[str, set[str]] = {}
    for (name, _), others in overlaps(of_cut, 0).items():
        found.setdefault(name, set()).update(other for other, _ in others if other != name)
    return {name: sorted(others) for name, others in found.items() if others}


def _check_inside(root: Path, name: str, path: Path, line: int) -> None:
    """Refuse a path that by its name does not lie in the corpus folder (links: `check_links`)."""
    where = f"{path}: line {line}: {quoted(name)}"
    if "\\" in name:
        raise UserError(f"{where}: has a backslash; write the path with /")
    posix = PurePosixPath(name)
    if posix.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in posix.parts:
        raise UserError(f"{where}: leaves {root}; write the path relative to that folder")
