"""IEMOCAP (Busso et al. 2008; https://sail.usc.edu/iemocap/): ten actors in five sessions.

    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     times and emotions of the turns
    Session1/dialog/transcriptions/Ses01F_impro01.txt    what is said
    Session1/dialog/avi/DivX/Ses01F_impro01.avi          both actors in one picture
    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav   the voice of a turn

The folders may lie at any depth. A dialogue is named after its session, who wears the markers for
motion capture, and what is played; a turn after its dialogue, who speaks and a number. So the
speaker of Ses01F_impro01_M000 is the man of session 1, although the dialogue is named after the
woman. Who wears the markers is in the left half of the picture, and the other in the right one (two
independent projects say so, the publisher does not). The video of a turn is the part of that of its
dialogue at the times of the turn; the file of its voice is the turn alone.

Four emotions are read, as in most work on IEMOCAP: anger, happiness with excitement, sadness and
neutral, 5,531 of the 10,039 turns. The others, and turns on which the raters do not agree, are left
out by rule. Scripts are played in every session in the same words: a text tells the script.

Turns of one dialogue that overlap in time by more than half of the shorter one hold the same
speech, and none is learned from where the other is tested.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stages.corpora.annotations import check_repeat, one_version, read_text
from stages.corpora.overlaps import SHARE, Stretch, overlaps
from stages.corpora.spelling import spoken_words
from stages.corpora.utterance import SEX, Listing, Utterance, first_five
from stages.corpora.walk import COPY, files_below, media_kind
from stages.runtime.errors import UserError

DIALOGUE = re.compile(
    r"Ses(?P<session>0[1-5])(?P<wearer>[FM])_(impro[0-9]{2}|script[0-9]{2}_[0-9])[a-z]?", re.ASCII
)
TURN = re.compile(rf"(?P<dialogue>{DIALOGUE.pattern})_(?P<speaker>[FM])[0-9]{{3}}", re.ASCII)
SECONDS = r"[0-9]+(?:\.[0-9]+)?"
LABEL = re.compile(
    rf"\[(?P<start>{SECONDS}) - (?P<end>{SECONDS})\]\s+(?P<turn>\S+)\s+(?P<code>\S+)\s+\[.*",
    re.ASCII,
)
TRANSCRIPT = re.compile(r"(?P<turn>Ses\S+) \[[^\]]*\]:(?P<text>.*)", re.ASCII)
EMOTION = {
    "ang": "anger",
    "exc": "happiness",
    "hap": "happiness",
    "neu": "neutral",
    "sad": "sadness",
}
LEFT_OUT = {
    "dis": "disgust",
    "fea": "fear",
    "fru": "frustration",
    "oth": "other",
    "sur": "surprise",
    "xxx": "no agreement",
}
OFFICIAL = {
    ("", "anger"): 1103,
    ("", "happiness"): 595 + 1041,
    ("", "sadness"): 1084,
    ("", "neutral"): 1708,
    ("", "frustration"): 1849,
    ("", "surprise"): 107,
    ("", "fear"): 40,
    ("", "disgust"): 2,
    ("", "other"): 3,
    ("", "no agreement"): 2507,
}
LICENCE = "for research, on request; not to be passed on (granted by SAIL, USC)"
FIXED_SENTENCES = False
OBTAIN = (
    "ask for it at https://sail.usc.edu/iemocap/iemocap_release.htm (it cannot be downloaded "
    "without), then put or link the folder with Session1 to Session5 there"
)
NAMES = (
    "name them like Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav, with "
    "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt beside them"
)


class Turn(NamedTuple):
    """A line of an EmoEvaluation file: seconds in the dialogue as written, and a code."""

    start: str
    end: str
    code: str


def read(root: Path, corpus: str) -> Listing:
    """List the turns of the EmoEvaluation files below `root`, with what there is of their clips.

    Raises:
        UserError: such a file cannot be read, has a turn twice or an emotion that is not known, or
            is there in two versions.
    """
    listing = Listing(official=OFFICIAL)
    files = list(files_below(root))
    voices: dict[str, Path] = {}
    faces: dict[str, Path] = {}
    copies = []
    for path in files:
        kind, name = media_kind(path), COPY.sub("", path.stem)
        if kind == "video" and DIALOGUE.fullmatch(name):
            if faces.setdefault(name, path) != path:
                listing.spare.append(path.relative_to(root).as_posix())
        elif kind == "audio" and DIALOGUE.fullmatch(name):
            listing.spare.append(path.relative_to(root).as_posix())
        elif kind and TURN.fullmatch(name):
            if (first := voices.setdefault(name, path)) != path:
                copies.append((name, path, first))
    texts: dict[str, str] = {}
    for path in _tables(files, "transcriptions", root):
        texts |= read_transcript(path)

    turns: dict[str, Utterance] = {}
    excluded: dict[str, str] = {}
    for path in _tables(files, "EmoEvaluation", root):
        found = read_turns(path)
        ordered = sorted(found, key=lambda name: (float(found[name].start), name))
        for position, name in enumerate(ordered, start=1):
            turn = found[name]
            item = _utterance(corpus, name, turn, texts.get(name, ""), position)
            video, audio = faces.get(path.stem), voices.get(name)
            turns[name] = replace(
                item,
                video=video.relative_to(root).as_posix() if video else "",
                audio=audio.relative_to(root).as_posix() if audio else "",
            )
            if turn.code in LEFT_OUT:
                excluded[name] = f"{turn.code} is none of the four classes"
    usable = {name: item for name, item in turns.items() if name not in excluded}
    others = overlaps(
        {
            (name,): Stretch(item.dialogue, float(item.start), float(item.end))
            for name, item in usable.items()
        },
        SHARE,
    )
    for name, item in usable.items():
        same = "\t".join(usable[other].id for (other,) in others.get((name,), ()))
        usable[name] = item = replace(item, overlaps=same)
        if not item.audio:
            listing.missing.append((item, f"no {name}.wav"))
        if item.audio or item.video:
            listing.utterances.append(item)
    listing.excluded = [(turns[name], "emotion_excluded", why) for name, why in excluded.items()]
    for name, path, first in copies:
        if name in turns:
            copy = replace(turns[name], video="", audio=path.relative_to(root).as_posix())
            listing.exclude_copy(copy, path, first, root)
    listing.notes = _notes(listing.utterances, root)
    return listing


def read_turns(path: Path) -> dict[str, Turn]:
    """The turns of a dialogue by their names, as an EmoEvaluation file has them.

    Only lines that begin with a bracket are of turns; the others are of their raters.

    Raises:
        UserError: see `read`.
    """
    turns: dict[str, Turn] = {}
    lines: dict[Hashable, int] = {}
    text, _ = read_text(path)
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.startswith("["):
            continue
        label = LABEL.fullmatch(content)
        match = TURN.fullmatch(label["turn"]) if label else None
        if not label or not match or match["dialogue"] != path.stem:
            raise UserError(f"{path}: line {line}: is no turn of {path.stem}; unpack the file anew")
        if float(label["start"]) >= float(label["end"]):
            raise UserError(f"{path}: line {line}: ends before it begins; unpack the file anew")
        if label["code"] not in EMOTION | LEFT_OUT:
            known = ", ".join(EMOTION | LEFT_OUT)
            raise UserError(
                f"{path}: line {line}: emotion {label['code']!r} is not one of {known}; unpack the "
                "file anew"
            )
        check_repeat(lines, match[0], match[0], path, line)
        turns[match[0]] = Turn(label["start"], label["end"], label["code"])
    return turns


def read_transcript(path: Path) -> dict[str, str]:
    """What is said in the turns of a dialogue, by their names; some lines have none.

    Raises:
        UserError: the file cannot be read.
    """
    text, _ = read_text(path)
    matches = map(TRANSCRIPT.fullmatch, text.splitlines())
    return {match["turn"]: " ".join(match["text"].split()) for match in matches if match}


def _utterance(corpus: str, name: str, turn: Turn, text: str, position: int) -> Utterance:
    match = TURN.fullmatch(name)
    assert match
    return Utterance(
        id=f"{corpus}/{name}",
        speaker=f"iemocap/Ses{match['session']}{match['speaker']}",
        sex=SEX[match["speaker"]],
        emotion=EMOTION.get(turn.code) or LEFT_OUT[turn.code],
        sentence=spoken_words(text) or name,
        start=turn.start,
        end=turn.end,
        whole="audio",
        crop="left" if match["speaker"] == match["wearer"] else "right",
        session=f"iemocap/Ses{match['session']}",
        dialogue=f"iemocap/{match['dialogue']}",
        turn=str(position),
        text=text,
    )


def _tables(files: Iterable[Path], folder: str, root: Path) -> list[Path]:
    """The file of each dialogue in the folders of a name.

    Raises:
        UserError: one is there in two versions.
    """
    of_dialogue: dict[str, list[Path]] = {}
    for path in files:
        if path.parent.name == folder and path.suffix == ".txt" and DIALOGUE.fullmatch(path.stem):
            of_dialogue.setdefault(path.stem, []).append(path)
    return [table for found in of_dialogue.values() if (table := one_version(found, root))]


def _notes(utterances: list[Utterance], root: Path) -> list[str]:
    notes = []
    faceless = [item.id for item in utterances if not item.video]
    if utterances and len(faceless) == len(utterances):
        notes.append(f"no faces: dialog/avi/DivX, which has them, is not below {root}")
    elif faceless:
        notes.append(f"no face, {len(faceless)} of {len(utterances)} turns: {first_five(faceless)}")
    silent = [item.id for item in utterances if not item.text]
    if silent:
        notes.append(f"no text, {len(silent)} of {len(utterances)} turns: {first_five(silent)}")
    sharing = [item.id for item in utterances if item.overlaps]
    if sharing:
        notes.append(
            f"{len(sharing)} turns overlap others of their dialogue by more than half of the "
            f"shorter, and are not learned from where these are tested: {first_five(sharing)}"
        )
    return notes
