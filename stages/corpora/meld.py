"""MELD (Poria et al. 2019; https://affective-meld.github.io): dialogues of a television series.

    train_sent_emo.csv     train_splits/dia0_utt0.mp4  ...
    dev_sent_emo.csv       dev_splits_complete/dia0_utt0.mp4  ...
    test_sent_emo.csv      output_repeated_splits_test/dia0_utt0.mp4  ...
                           output_repeated_splits_test/final_videos_testdia0_utt1.mp4  ...

These are in MELD.Raw.tar.gz and in the archives within it, and may lie at any depth and be in any
format; where a clip is not there but its sound is, it is a voice without a face. A table says
who says what and how, a row an utterance; only rows with a clip are used, and only clips with a
row. A split of which nothing is here is done without.

Dialogue and utterance number an utterance within its split only, so ids carry the split:
"meld/train_dia0_utt0". Where a clip is there with the prefix final_videos_test and without, the
one with it has the corrected cut and is taken.

A speaker is a name in the table: "All" and "Joey and Ross" count as somebody of their own, and so
does a "Woman" wherever one speaks. Of 143 test episodes 142 are in train too, as are 69 of 100
test speakers. Most clips show several faces.

The tables' times in the episode tell which utterances are cut from the same speech: those that
overlap by more than half of the shorter one. Such pairs across the official splits are copies to
protocol `official` (set `duplicates: drop`, which keeps the test utterance); the other protocols
learn from none that overlaps a test utterance.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from stages.corpora.annotations import (
    check_repeat,
    emotion_of,
    encoding_notes,
    one_version,
    quoted,
    read_rows,
)
from stages.corpora.overlaps import SHARE, Stretch, overlaps
from stages.corpora.source import Archive, Source
from stages.corpora.spelling import APOSTROPHES, spoken_words
from stages.corpora.utterance import Listing, Utterance, first_five
from stages.corpora.walk import files_below, media_kind
from stages.runtime.errors import UserError

CLIPS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
CLIP = re.compile(
    r"(?P<prefix>final_videos_test)?dia(?P<dialogue>[0-9]+)_utt(?P<utterance>[0-9]+)",
    re.ASCII | re.IGNORECASE,
)
NUMBER = re.compile("[0-9]{1,9}", re.ASCII)
MOST = 10  # utterances that may share start and end; where more do, those are no times
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
TIME_COLUMNS = ("Season", "Episode", "StartTime", "EndTime")
TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2}([.,][0-9]{1,6})?)", re.ASCII)
# Of the six main characters. Others tell it by a first name or a word, if at all.
SEX_OF = dict.fromkeys(("Monica", "Phoebe", "Rachel"), "female")
SEX_OF |= dict.fromkeys(("Chandler", "Joey", "Ross"), "male")
EMOTION_ORDER = ("neutral", "happiness", "surprise", "anger", "sadness", "disgust", "fear")
OFFICIAL = {
    (split, emotion): count
    for split, counts in {
        "train": (4710, 1743, 1205, 1109, 683, 271, 268),
        "dev": (470, 163, 150, 153, 111, 22, 40),
        "test": (1256, 402, 281, 345, 208, 68, 50),
    }.items()
    for emotion, count in zip(EMOTION_ORDER, counts)
}
# As published (issues 20, 22, 27, 39 and 52 of declare-lab/MELD). None is left out by its name:
# what cannot be decoded is found out by the decoder, in a repaired copy too.
KNOWN_BAD = {
    "dev_dia110_utt7": "is not in the publisher's archive",
    "train_dia125_utt3": "cannot be played",
    "train_dia309_utt0": "is cut wrongly and lasts 41 s",
    "test_dia38_utt4": "is cut wrongly and lasts 305 s",
    "test_dia220_utt0": "is cut wrongly and lasts 235 s",
}
LICENCE = "GPL-3.0 (granted by its authors); the clips are of a series: do not pass them on"
FIXED_SENTENCES = False
SOURCE = Source(
    terms=f"""\
MELD: {LICENCE}
Cite: Poria S, Hazarika D, Majumder N, Naik G, Cambria E, Mihalcea R (2019). MELD: A Multimodal
  Multi-Party Dataset for Emotion Recognition in Conversations. ACL 2019.
Its authors publish no checksum; size and SHA-256 are what third parties recorded.""",
    archives={
        "MELD.Raw.tar.gz": Archive(
            addresses=(
                "https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz",
                "https://huggingface.co/datasets/declare-lab/MELD/resolve/main/MELD.Raw.tar.gz",
            ),
            size=10_878_146_150,
            checksum="sha256:a56b4407d574195cbce470d86f9c9d72fcfea59b0e34502ecd4babee4a5c613e",
        )
    },
)
OBTAIN = (
    "download MELD.Raw.tar.gz (11 GB) from "
    "https://huggingface.co/datasets/declare-lab/MELD, and unpack it and the archives in it there"
)
NAMES = "name them like train_splits/dia0_utt0.mp4, with train_sent_emo.csv anywhere beside them"

Key = tuple[str, int, int]  # split, dialogue, utterance


def read(root: Path, corpus: str) -> Listing:
    """List the rows of the tables below `root` for which there are clips.

    Raises:
        UserError: a table cannot be read, has an emotion that is not known or an utterance
            twice, is there in two versions, or is there without its clips; or clips without it.
    """
    files = list(files_below(root))
    clips, copies, spare = _find_clips(files)
    listing = Listing(official=OFFICIAL)
    annotated: dict[Key, Utterance] = {}
    stretches: dict[Key, Stretch] = {}
    for split in CLIPS:
        tables = [path for path in files if path.name == f"{split}_sent_emo.csv"]
        table = one_version(tables, root)
        present = any(key[0] == split for key in clips)
        if table and not present:
            raise UserError(
                f"{table}: there is no clip of it in a folder {CLIPS[split]}; unpack "
                f"{split}.tar.gz below {root}, or remove the table to do without this split"
            )
        if present and not table:
            raise UserError(
                f"{root}: no {split}_sent_emo.csv for the clips in {CLIPS[split]}; take it from "
                "https://github.com/declare-lab/MELD/tree/master/data/MELD"
            )
        if table:
            annotated |= read_table(table, split, corpus)
            stretches |= read_stretches(table, split)
            listing.notes += encoding_notes(table)

    sharing = Counter(stretches.values())
    stretches = {
        key: one for key, one in stretches.items() if key in clips and sharing[one] <= MOST
    }
    others = overlaps(stretches, SHARE)
    for key, utterance in annotated.items():
        recording = utterance.id.split("/", 1)[1]
        if key in clips:
            clip = clips[key].relative_to(root).as_posix()
            video = clip if media_kind(clips[key]) == "video" else ""
            overlapping = "\t".join(annotated[other].id for other in others.get(key, ()))
            listing.utterances.append(
                replace(utterance, video=video, audio=clip, overlaps=overlapping)
            )
        else:
            _, dialogue, number = key
            where = f"no dia{dialogue}_utt{number}.mp4 in {CLIPS[key[0]]}"
            known = f", which {KNOWN_BAD[recording]}" if recording in KNOWN_BAD else ""
            listing.missing.append((utterance, where + known))
    for key, path, first in copies:
        if key in annotated:
            copy = replace(annotated[key], audio=path.relative_to(root).as_posix())
            listing.exclude_copy(copy, path, first, root)
    listing.spare = [path.relative_to(root).as_posix() for key, path in spare if key in annotated]
    if annotated:
        listing.notes += _notes(clips, annotated)
        used = {key: item for key, item in annotated.items() if key in clips}
        listing.notes += _notes_on_times(used, stretches, others)
    return listing


def read_table(path: Path, split: str, corpus: str) -> dict[Key, Utterance]:
    """The utterances of an annotation table, without their clips.

    Raises:
        UserError: see `read`.
    """
    utterances: dict[Key, Utterance] = {}
    lines: dict[Hashable, int] = {}
    for line, row in read_rows(path, COLUMNS):
        for column in ("Dialogue_ID", "Utterance_ID"):
            if not NUMBER.fullmatch(row[column]):
                raise UserError(
                    f"{path}: line {line}: {column} {quoted(row[column])} is not a number; fix it"
                )
        dialogue, number = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
        check_repeat(lines, (dialogue, number), f"dia{dialogue}_utt{number}", path, line)
        speaker = speaker_name(row["Speaker"])
        if not speaker or not speaker.isprintable():
            raise UserError(
                f"{path}: line {line}: Speaker {quoted(row['Speaker'])}: give it a name"
            )
        recording = f"{split}_dia{dialogue}_utt{number}"
        utterances[split, dialogue, number] = Utterance(
            id=f"{corpus}/{recording}",
            speaker=f"meld/{speaker}",
            sex=SEX_OF.get(speaker, ""),
            emotion=emotion_of(row["Emotion"], path, line),
            sentence=spoken_words(row["Utterance"]) or recording,
            split=split,
            dialogue=f"meld/{split}_dia{dialogue}",
            text=row["Utterance"],
        )
    # Numbers have gaps, and rows may come in any order.
    turns: Counter[int] = Counter()
    for key in sorted(utterances):
        turns[key[1]] += 1
        utterances[key] = replace(utterances[key], turn=str(turns[key[1]]))
    return utterances


def read_stretches(path: Path, split: str) -> dict[Key, Stretch]:
    """Where the utterances of an annotation table are; of some it may not say.

    Recordings are season and episode.
    """
    found = {}
    for _, row in read_rows(path, ("Dialogue_ID", "Utterance_ID"), TIME_COLUMNS):
        times = [TIME.fullmatch(row[column]) for column in ("StartTime", "EndTime")]
        if all(times) and all(NUMBER.fullmatch(row[column]) for column in TIME_COLUMNS[:2]):
            start, end = (
                int(time[1]) * 3600 + int(time[2]) * 60 + float(time[3].replace(",", "."))
                for time in times
                if time
            )
            key = (split, int(row["Dialogue_ID"]), int(row["Utterance_ID"]))
            found[key] = Stretch((int(row["Season"]), int(row["Episode"])), start, end)
    return found


def speaker_name(text: str) -> str:
    """A speaker's name in one spelling: "Phoebe Sr." and "Phoebe Sr" are one person."""
    name = unicodedata.normalize("NFKC", text).translate(APOSTROPHES)
    return " ".join(name.split()).rstrip(".")


def _find_clips(
    files: list[Path],
) -> tuple[dict[Key, Path], list[tuple[Key, Path, Path]], list[tuple[Key, Path]]]:
    """The clip of each utterance; further files of one kind and name, with the first; and the rest.

    Of several files of one utterance a video is taken before a file of sound, and of these the
    corrected cut before the other.
    """
    found: dict[tuple[Key, bool, bool], Path] = {}
    copies = []
    split_of = {folder: split for split, folder in CLIPS.items()}
    for path in files:
        kind, match = media_kind(path), CLIP.fullmatch(path.stem)
        split = split_of.get(path.parent.name)
        if kind and match and split:
            key = (split, int(match["dialogue"]), int(match["utterance"]))
            first = found.setdefault((key, kind == "video", bool(match["prefix"])), path)
            if first != path:
                copies.append((key, path, first))
    clips = {rank[0]: found[rank] for rank in sorted(found)}  # the last of each is the best
    spare = [(rank[0], path) for rank, path in found.items() if path != clips[rank[0]]]
    return clips, copies, spare


def _notes(clips: dict[Key, Path], annotated: dict[Key, Utterance]) -> list[str]:
    notes = []
    used = [clip for key, clip in clips.items() if key in annotated]
    corrected = sum(clip.name.lower().startswith("final_videos_test") for clip in used)
    if corrected:
        notes.append(f"the corrected cut, final_videos_test..., is taken {corrected} times")
    recordings = {f"{split}_dia{dialogue}_utt{number}" for split, dialogue, number in clips}
    bad = [f"{recording} {why}" for recording, why in KNOWN_BAD.items() if recording in recordings]
    if bad:
        notes.append(f"known of the published clips: {'; '.join(bad)}")
    return notes


def _notes_on_times(
    used: dict[Key, Utterance], stretches: dict[Key, Stretch], others: dict[Key, list[Key]]
) -> list[str]:
    notes = []
    if unknown := [item.id for key, item in used.items() if key not in stretches]:
        notes.append(
            "without season, episode, start and end, or with those of many, so that nobody knows "
            f"what they overlap, {len(unknown)} utterances: {first_five(unknown)}"
        )
    same: dict[Stretch, list[Utterance]] = {}
    for key, item in used.items():
        if key in stretches:
            same.setdefault(stretches[key], []).append(item)
    groups = [items for items in same.values() if len(items) > 1]
    if groups:
        splits, emotions = (
            sum(len({getattr(item, of) for item in items}) > 1 for items in groups)
            for of in ("split", "emotion")
        )
        notes.append(
            f"{len(groups)} groups of utterances share season, episode, start and end: {splits} of "
            f"them across splits, {emotions} with several emotions"
        )
    held_out = [
        used[key].id
        for key, overlapped in others.items()
        if key[0] == "test" and any(other[0] != "test" for other in overlapped)
    ]
    if held_out:
        notes.append(
            f"{len(held_out)} test utterances overlap a train or dev utterance by more than half "
            f"(set duplicates: drop): {first_five(sorted(held_out))}"
        )
    return notes
