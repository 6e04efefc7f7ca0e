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

Other columns are ignored; clips that no row names are reported and not used. UTF-8 and what
spreadsheet programs save (Windows-1252, UTF-16, `;` or tabs instead of commas, CRLF) are read
alike. Ids, speakers and sentences are read in Unicode's composed form with single spaces; two
speakers that differ in spelling alone (Anna and anna, 07 and 7) are refused. Folders `folder_a` and
`folder_b` are two variants of one corpus: the same id is the same recording there, the same speaker
the same person.
"""

import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from stages.corpora.annotations import check_repeat, emotion_of, quoted, read_rows
from stages.corpora.spelling import one_spelling
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import files_below
from stages.runtime.errors import UserError

TABLE = "utterances.csv"
REQUIRED = ("id", "speaker", "emotion", "video", "audio")
OPTIONAL = ("sentence", "split")
SPLITS = ("train", "dev", "test")
# Files with these suffixes are reported if no row names them.
MEDIA = (".avi", ".flac", ".flv", ".m4a", ".mkv", ".mov", ".mp3", ".mp4", ".ogg", ".wav", ".webm")
OBTAIN = f"make it, with your clips and a table {TABLE} (columns {', '.join(REQUIRED)})"


def read(root: Path, corpus: str) -> Listing:
    """List the rows of `utterances.csv` in `root`.

    A row of whose two files one is missing is used for the other, and both missing for nothing.

    Raises:
        UserError: the table is missing or cannot be read; an id is empty or there twice, a
            speaker is empty, an emotion or split is not known; or a path leaves the folder.
    """
    path = root / TABLE
    if not path.is_file():
        raise UserError(f"{path}: no such file; write one with columns {', '.join(REQUIRED)}")
    listing = Listing()
    lines: dict[Hashable, int] = {}
    for line, row in read_rows(path, REQUIRED, OPTIONAL):
        utterance = _utterance(corpus, row, path, line)
        check_repeat(lines, utterance.id, f"id {quoted(row['id'])}", path, line)
        files = {"video": utterance.video, "audio": utterance.audio}
        for name in files.values():
            _check_inside(root, name, path, line)
        here = {
            column: name if os.path.isfile(root / name) else "" for column, name in files.items()
        }
        absent = sorted({name for column, name in files.items() if name and not here[column]})
        found = replace(utterance, **here)
        if absent:
            listing.missing.append((found, f"no file {', '.join(map(quoted, absent))}"))
        if any(here.values()):
            listing.utterances.append(found)
    named = {name for item in listing.utterances for name in (item.video, item.audio)}
    others = [item.relative_to(root).as_posix() for item in files_below(root)]
    unknown = [name for name in others if _is_media(name) and name not in named]
    if unknown:
        listing.notes.append(
            f"in no row of {TABLE} and not used, {len(unknown)} files: {first_five(unknown)}"
        )
    return listing


def _is_media(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in MEDIA and not path.name.startswith(".")


def _utterance(corpus: str, row: dict[str, str], path: Path, line: int) -> Utterance:
    row |= {column: one_spelling(row[column]) for column in ("id", "speaker", "sentence")}
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
    return Utterance(
        id=f"{corpus}/{row['id']}",
        speaker=f"folder/{row['speaker']}",
        emotion=emotion_of(row["emotion"], path, line),
        sentence=row["sentence"],
        split=split,
        video=PurePosixPath(row["video"]).as_posix() if row["video"] else "",
        audio=PurePosixPath(row["audio"]).as_posix() if row["audio"] else "",
    )


def _check_inside(root: Path, name: str, path: Path, line: int) -> None:
    """Refuse a path that does not lie in the corpus folder, by its name or through a link."""
    where = f"{path}: line {line}: {quoted(name)}"
    if "\\" in name:
        raise UserError(f"{where}: has a backslash; write the path with /")
    posix = PurePosixPath(name)
    if posix.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in posix.parts:
        raise UserError(f"{where}: leaves {root}; write the path relative to that folder")
    place, real = os.path.realpath(root), os.path.realpath(root / name)
    if os.path.commonpath([place, real]) != place:
        raise UserError(
            f"{where}: is a link out of {root}; copy the file, or link the whole folder instead"
        )
