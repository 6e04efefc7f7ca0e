"""MSP-IMPROV as its publisher ships it; clips are empty, as only names and the table count."""

from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.listing import list_corpus
from stages.corpora.mspimprov import OFFICIAL, read
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make
from tests.helpers import user_error

# By kind of turn, of anger, sadness, happiness, neutral; and all of it, O and X too.
COUNTS = {
    "T": (115, 106, 136, 283, 652),
    "R": (169, 80, 88, 241, 620),
    "S": (470, 633, 1048, 1789, 4381),
    "P": (38, 66, 1372, 1164, 2785),
}
TURN = "S01A-F01-P-FM01"


def label(turn: str, code: str) -> str:
    """The lines of a turn, with two of its raters."""
    return (
        f"UTD-IMPROV-{turn}.avi; {code}; A:2.400000; V:NaN; D:3.000000 ; N:3.800000;\n"
        "Rater-1;Neutral; ;A:2;V:3;D:3;N:4;\nRater-2;Angry; A;A:3;V:NaN;D:3;N:4;\n\n"
    )


def voice(turn: str) -> str:
    sentence, actor, kind, _ = turn.split("-")
    return f"Audio/session{int(actor[1:])}/{sentence}/{kind}/MSP-IMPROV-{turn}.wav"


def listing_of(
    root: Path, codes: dict[str, str], *clips: str, table: str = "Evalution.txt"
) -> Listing:
    make(root, *(clips or [voice(turn) for turn in codes]))
    (root / table).write_text("".join(label(turn, code) for turn, code in codes.items()))
    return list_corpus(root, "mspimprov")


def only(listing: Listing) -> Utterance:
    (utterance,) = listing.utterances
    return utterance


def test_the_corpus_has_as_many_turns_of_each_emotion_as_published(tmp_path: Path):
    codes = {}
    for kind, (*counts, total) in COUNTS.items():
        letters = [letter for letter, n in zip("ASHN", counts) for _ in range(n)]
        rest = total - len(letters)
        letters += ["O"] * (rest // 2) + ["X"] * (rest - rest // 2)
        for n, letter in enumerate(letters):
            who, session = "FM"[n // 6 % 2], n % 6 + 1
            turn = f"S{n // 300 + 1:02d}A-{who}{session:02d}-{kind}-{who}M{n % 900:03d}"
            codes[turn] = letter
    listing = listing_of(tmp_path / "mspimprov", codes)
    assert listing.expected == 8438 and differences(listing) == []
    assert len(listing.utterances) == 7798 and listing.missing == []
    counts = Counter(item.emotion for item in listing.utterances)
    assert counts == {"anger": 792, "sadness": 885, "happiness": 2644, "neutral": 3477}
    assert {("", emotion): n for emotion, n in counts.items()}.items() <= OFFICIAL.items()
    assert len({item.speaker for item in listing.utterances}) == 12
    assert len({item.session for item in listing.utterances}) == 6


@pytest.mark.parametrize("table", ["Evalution.txt", "Evaluation.txt", "evaluation.txt"])
def test_both_spellings_of_the_table_are_read(table: str, tmp_path: Path):
    assert only(listing_of(tmp_path / "c", {TURN: "N"}, table=table)) == Utterance(
        id=f"mspimprov/{TURN}",
        speaker="mspimprov/F01",
        sex="female",
        emotion="neutral",
        sentence=TURN,
        audio=voice(TURN),
        session="mspimprov/session1",
        dialogue="mspimprov/S01A-F01",
    )


@pytest.mark.parametrize("prefix", ["MSP", "UTD"])
def test_clips_are_found_under_either_name_and_a_video_is_the_face(prefix: str, tmp_path: Path):
    film = f"Video/session1/S01A/P/{prefix}-IMPROV-{TURN}.avi"
    utterance = only(listing_of(tmp_path / "both", {TURN: "A"}, film, voice(TURN)))
    assert (utterance.video, utterance.audio) == (film, voice(TURN))
    utterance = only(listing_of(tmp_path / "film", {TURN: "A"}, film))
    assert (utterance.video, utterance.audio) == (film, film)


def test_who_speaks_is_of_the_two_people_of_the_session_and_a_read_sentence_is_no_dialogue(
    tmp_path: Path,
):
    codes = {"S07H-M03-S-FM02": "H", "S07H-M03-T-MF11": "S", "S07H-M03-R-MM01": "S"}
    found = {
        item.id.split("-")[-2]: (item.speaker, item.sentence, item.dialogue, item.session)
        for item in listing_of(tmp_path / "c", codes).utterances
    }
    session = "mspimprov/session3"
    assert found == {
        "S": ("mspimprov/F03", "S07H-M03-S-FM02", "mspimprov/S07H-M03", session),
        "T": ("mspimprov/M03", "07", "mspimprov/S07H-M03", session),
        "R": ("mspimprov/M03", "07", "", session),
    }


@pytest.mark.parametrize("code, why", [("O", "another emotion"), ("X", "do not agree")])
def test_other_emotions_and_disagreement_are_left_out_by_rule(code: str, why: str, tmp_path: Path):
    listing = listing_of(tmp_path / "c", {TURN: code, "S01A-F01-P-MF01": "N"})
    ((utterance, reason, detail),) = listing.excluded
    assert utterance.id == f"mspimprov/{TURN}" and reason == "emotion_excluded" and why in detail
    assert [item.id for item in listing.utterances] == ["mspimprov/S01A-F01-P-MF01"]


def test_a_turn_without_a_clip_is_missing_and_a_clip_without_a_turn_is_told(tmp_path: Path):
    codes = {TURN: "N", "S01A-F01-P-MF01": "N"}
    extra = "Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM09.wav"
    listing = listing_of(tmp_path / "c", codes, voice(TURN), extra)
    ((utterance, why),) = listing.missing
    assert why == "no MSP-IMPROV-S01A-F01-P-MF01.wav"
    assert utterance.id == "mspimprov/S01A-F01-P-MF01"
    assert f"there and not used, 1 files: {extra}" in listing.notes
    assert f"no faces: there are no videos (.avi) below {tmp_path / 'c'}" in listing.notes


@pytest.mark.parametrize(
    "first, copy", [(voice(TURN), "flac"), (f"a/MSP-IMPROV-{TURN}.avi", "mp4")]
)
def test_a_clip_that_is_there_twice_is_named(first: str, copy: str, tmp_path: Path):
    again = f"x/UTD-IMPROV-{TURN}.{copy}"
    listing = listing_of(tmp_path / "c", {TURN: "N"}, *{voice(TURN): 0, first: 0}, again)
    ((_, code, detail),) = listing.excluded
    assert (code, detail) == ("duplicate", f"{again} repeats {first}")


def test_two_versions_of_the_table_are_refused(tmp_path: Path):
    listing_of(tmp_path / "c", {TURN: "N"})
    (tmp_path / "c/Evaluation.txt").write_text(label(TURN, "A"))
    message = user_error(read, tmp_path / "c", "mspimprov")
    assert message == f"{tmp_path}/c/Evalution.txt: differs from Evaluation.txt; keep one"


@pytest.mark.parametrize(
    "codes, message",
    [
        (["N", "N"], f"line 5: {TURN} is already in line 1; keep one of them"),
        (["Q"], "line 1: emotion 'Q' is not one of A, H, N, S, O, X; unpack the file anew"),
    ],
)
def test_a_line_that_cannot_be_is_refused(codes: list[str], message: str, tmp_path: Path):
    (tmp_path / "Evalution.txt").write_text("".join(label(TURN, code) for code in codes))
    assert user_error(read, tmp_path, "mspimprov") == f"{tmp_path}/Evalution.txt: {message}"
