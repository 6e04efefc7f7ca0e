"""What a corpus reader gives: its utterances, what is not among them, and what to know of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SEX = {"F": "female", "M": "male"}  # as the names of several corpora have it


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: visual, acoustic or both.

    Attributes:
        id: unique within all corpora, e.g. "ravdess/01-05-01-02-01-12"; the part after the
            corpus names the recording, so that a face and a voice of one recording share it.
        speaker: unique over all corpora that one publisher's layout describes, since the same
            people may appear in several of them, e.g. "ravdess/12".
        emotion: one of the seven, or the corpus' own word in what was left out.
        sentence: what is said, as the corpus numbers it, or "" where it does not.
        split: the official split, or "" where there is none.
        video: path of the clip with the face relative to the corpus folder, or "".
        audio: path of the clip with the voice relative to the corpus folder, or "".
        start, end: of an utterance in a longer file, in seconds from the beginning of the file;
            both "" where the whole file is the utterance.
        whole: "audio" where that file is the utterance alone, and `start` and `end` are times in
            the video; else "".
        crop: the half of the picture that shows the speaker, "left" or "right"; "" for all of it.
        overlaps: ids, between tabs, of utterances that hold the same speech: of MELD by more than
            half of the shorter one, of a folder at all.
        session: the recording session, of which people and room differ from those of the others,
            unique as speakers are, e.g. "iemocap/Ses01"; "" where there are none.
        dialogue: the conversation that it is part of, unique as speakers are; "" outside of one.
        turn: its position within the dialogue, from 1, also counting what is not used; or "".
        text: what is said, as the publisher writes it down; "" where that is not known.
        sex: of the speaker, "female" or "male"; "" where the corpus does not tell.
    """

    id: str
    speaker: str
    emotion: str
    sentence: str = ""
    split: str = ""
    video: str = ""
    audio: str = ""
    start: str = ""
    end: str = ""
    whole: str = ""
    crop: str = ""
    overlaps: str = ""
    session: str = ""
    dialogue: str = ""
    turn: str = ""
    text: str = ""
    sex: str = ""


@dataclass
class Listing:
    """All that a corpus folder holds.

    Attributes:
        utterances: what can be used.
        excluded: what a rule of the corpus leaves out: the utterance, a code of
            `stages.io.skips.EXCLUDED_BY_RULE` and the reason.
        missing: what a table of the corpus names and the folder does not hold: the utterance and
            which file it is. One of whose two files the other is there is in `utterances` too.
        spare: files that are not needed, as another of the same recording is taken for its face or
            voice, relative to the corpus folder.
        official: how many utterances of each (split, emotion) the publisher ships; empty where
            that is not fixed.
        notes: what else a person should know, a line each.
    """

    utterances: list[Utterance] = field(default_factory=list)
    excluded: list[tuple[Utterance, str, str]] = field(default_factory=list)
    missing: list[tuple[Utterance, str]] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    official: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def expected(self) -> int | None:
        """How many utterances the publisher ships, or None where that is not fixed."""
        return sum(self.official.values()) or None

    def exclude_copy(self, copy: Utterance, path: Path, first: Path, root: Path) -> None:
        """Leave out the recording at `path`, which `first` has already; both lie below `root`."""
        detail = f"{path.relative_to(root)} repeats {first.relative_to(root)}"
        self.excluded.append((copy, "duplicate", detail))

    def exclude_emotion(self, utterance: Utterance) -> None:
        """Leave out an utterance of which the emotion is the corpus' own."""
        detail = f"{utterance.emotion} is not one of the seven emotions"
        self.excluded.append((utterance, "emotion_excluded", detail))


def differences(listing: Listing) -> list[str]:
    """Where what is here, left out by a rule or not, is not what the publisher ships.

    Returns:
        e.g. ["train 0 of 9989", "dev fear 39 of 40"]: a split that is not here at all in one
        item; [] where nothing differs or nothing is official.
    """
    if not listing.official:
        return []
    here = {item.id: item for item in listing.utterances}
    here |= {item.id: item for item, _, _ in listing.excluded}
    counts = Counter((item.split, item.emotion) for item in here.values())
    found = []
    for split in dict.fromkeys(split for split, _ in [*listing.official, *counts]):
        if split and not any(key[0] == split for key in counts):
            total = sum(count for key, count in listing.official.items() if key[0] == split)
            found.append(f"{split} 0 of {total}")
            continue
        for key in dict.fromkeys([*listing.official, *counts]):
            official = listing.official.get(key, 0)
            if key[0] == split and counts[key] != official:
                found.append(f"{' '.join(key).strip()} {counts[key]} of {official}")
    return found


def first_five(names: Iterable[str]) -> str:
    """The first five of some names on one line, and dots where there are more."""
    names = [name if name.isprintable() else repr(name) for name in names]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
