"""What a corpus reader gives: its utterances, and what it left out by its own rules."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence, seen, heard or both.

    Attributes:
        id: unique within all corpora, e.g. "ravdess/01-05-01-02-01-12"; the part after the
            corpus names the take, so that a face and a voice of one take share it.
        speaker: unique over all corpora that one publisher's layout describes, since the same
            people may appear in several of them, e.g. "ravdess/12".
        emotion: one of the seven, or the corpus' own word in what was left out.
        sentence: what is said, as the corpus numbers it, or "" where it does not.
        split: the official split, or "" where there is none.
        video: path of the clip with the face relative to the corpus folder, or "".
        audio: path of the clip with the voice relative to the corpus folder, or "".
    """

    id: str
    speaker: str
    emotion: str
    sentence: str = ""
    split: str = ""
    video: str = ""
    audio: str = ""


@dataclass
class Listing:
    """All that a corpus folder holds.

    Attributes:
        utterances: what can be used.
        excluded: what a rule of the corpus leaves out: the utterance, a code of
            `stages.skips.EXCLUDED_BY_RULE` and the reason.
        expected: how many utterances the publisher ships, or None where that is not fixed.
    """

    utterances: list[Utterance] = field(default_factory=list)
    excluded: list[tuple[Utterance, str, str]] = field(default_factory=list)
    expected: int | None = None
