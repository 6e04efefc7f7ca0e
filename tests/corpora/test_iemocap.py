"""IEMOCAP as its archive unpacks it; clips are empty, as only their names and the tables count."""

from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.iemocap import OFFICIAL, read
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make
from tests.helpers import user_error

# By session, of the four classes: anger, happiness, excitement, sadness, neutral.
COUNTS = {
    1: (229, 135, 143, 194, 384),
    2: (137, 117, 210, 197, 362),
    3: (240, 135, 151, 305, 320),
    4: (327, 65, 238, 143, 258),
    5: (170, 143, 299, 245, 384),
}
CODES = ("ang", "hap", "exc", "sad", "neu")
OTHERS = {"fru": 1849, "sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507}
HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
RATERS = (
    "C-E2:\tNeutral;\t()\nC-F1:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
    "A-F1:\tval 3; act 2; dom  ;\t()\n\n"
)

Turn = tuple[str, float, float, str]  # name within the dialogue, start, end, code


def folder(dialogue: str) -> str:
    return f"Session{dialogue[4]}/dialog"


def write_dialogue(
    root: Path, dialogue: str, turns: list[Turn], said: list[str] | None = None
) -> None:
    """The tables of a dialogue; `said` are the lines of its transcript."""
    labels = "".join(
        f"[{start:.4f} - {end:.4f}]\t{dialogue}_{name}\t{code}\t[2.5000, 2.5000, 2.5000]\n{RATERS}"
        for name, start, end, code in turns
    )
    for place, text in [
        ("EmoEvaluation", HEAD + labels),
        ("transcriptions", "\n".join([*(said or []), ""])),
    ]:
        path = root / folder(dialogue) / place / f"{dialogue}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def voice(dialogue: str, name: str) -> str:
    return f"Session{dialogue[4]}/sentences/wav/{dialogue}/{dialogue}_{name}.wav"


def film(dialogue: str) -> str:
    return f"{folder(dialogue)}/avi/DivX/{dialogue}.avi"


def one_turn(root: Path, dialogue: str, name: str, code: str = "neu") -> Utterance:
    """The only utterance of a corpus of one turn, with its face and its voice."""
    write_dialogue(root, dialogue, [(name, 6.2901, 8.2357, code)])
    make(root, voice(dialogue, name), film(dialogue))
    (utterance,) = read(root, "iemocap").utterances
    return utterance


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions with an improvisation and a script each, and what is odd in the real ones."""
    root = tmp_path_factory.mktemp("iemocap") / "iemocap/IEMOCAP_full_release"
    for session in "12":
        for play in ("impro01", "script01_1"):
            for wearer in "FM":
                dialogue = f"Ses0{session}{wearer}_{play}"
                turns = [
                    ("F000", 6.2901, 8.2357, "neu"),
                    ("F001", 20.5, 22.0, "exc"),
                    ("M000", 9.0, 12.25, "ang"),
                    ("M001", 30.0, 31.0, "xxx"),
                ]
                said = [
                    f"{dialogue}_F000 [006.2901-008.2357]: Excuse me.",
                    f"{dialogue}_MXX0 [008.5000-008.9000]: Hm.",
                    "M: [BREATHING]",
                    f"{dialogue}_M000 [009.0000-012.2500]:  Do you have   your forms? [LAUGHTER]",
                ]
                write_dialogue(root, dialogue, turns, said)
                make(root, *(voice(dialogue, turn[0]) for turn in turns), film(dialogue))
                make(root, f"{folder(dialogue)}/wav/{dialogue}.wav")
    (root / voice("Ses02M_script01_1", "F001")).unlink()
    make(
        root,
        f"{folder('Ses01F')}/EmoEvaluation/._Ses01F_impro01.txt",
        f"{folder('Ses01F')}/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt",
        "Session1/sentences/wav/Ses01F_impro01/._Ses01F_impro01_F000.wav",
        "Documentation/README.txt",
    )
    write_dialogue(root, "Ses02F_impro05a", [("M003", 1.0, 2.5, "hap")])
    make(root, voice("Ses02F_impro05a", "M003"))
    return root.parent


@pytest.fixture(scope="module")
def listing(small: Path) -> Listing:
    return list_corpus(small, "iemocap")


def by_name(listing: Listing) -> dict[str, Utterance]:
    return {item.id.removeprefix("iemocap/"): item for item in listing.utterances}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """All five sessions with the counts of the published corpus, in dialogues of 500 turns."""
    root = tmp_path_factory.mktemp("iemocap_whole") / "iemocap"
    codes = {
        session: [code for code, count in zip(CODES, COUNTS[session]) for _ in range(count)]
        for session in COUNTS
    }
    left_out = [code for code, count in OTHERS.items() for _ in range(count)]
    for number, code in enumerate(left_out):
        codes[number % 5 + 1].append(code)
    names = []
    for session, of_session in codes.items():
        for start in range(0, len(of_session), 500):
            dialogue = f"Ses0{session}F_impro{start // 500 + 1:02d}"
            turns = [
                (f"{'FM'[number % 2]}{number:03d}", 2.0 * number, 2.0 * number + 1.5, code)
                for number, code in enumerate(of_session[start : start + 500])
            ]
            write_dialogue(root, dialogue, turns)
            names += [voice(dialogue, turn[0]) for turn in turns]
    make(root, *names)
    return list_corpus(root, "iemocap")


def test_the_corpus_has_as_many_turns_of_each_emotion_as_published(whole: Listing):
    assert whole.expected == 10039 and differences(whole) == []
    assert len(whole.utterances) == 5531 and whole.missing == []
    counts = Counter(item.emotion for item in whole.utterances)
    assert counts == {"anger": 1103, "happiness": 1636, "sadness": 1084, "neutral": 1708}
    assert {("", emotion): count for emotion, count in counts.items()}.items() <= OFFICIAL.items()


def test_every_session_has_two_speakers_and_its_turns_of_the_four_classes(whole: Listing):
    counts = Counter(item.session for item in whole.utterances)
    assert counts == {f"iemocap/Ses0{session}": sum(COUNTS[session]) for session in COUNTS}
    speakers = {(item.session, item.speaker) for item in whole.utterances}
    assert speakers == {
        (f"iemocap/Ses0{session}", f"iemocap/Ses0{session}{letter}")
        for session in COUNTS
        for letter in "FM"
    }


@pytest.mark.parametrize("wearer", "FM")
@pytest.mark.parametrize("speaker", "FM")
def test_the_speaker_is_that_of_the_turn_and_the_wearer_of_markers_is_on_the_left(
    speaker: str, wearer: str, tmp_path: Path
):
    utterance = one_turn(tmp_path / "c", f"Ses03{wearer}_script02_2", f"{speaker}000")
    assert utterance.speaker == f"iemocap/Ses03{speaker}"
    assert utterance.crop == ("left" if speaker == wearer else "right")


def test_a_turn_is_understood(listing: Listing):
    release = "IEMOCAP_full_release"
    assert by_name(listing)["Ses01F_impro01_M000"] == Utterance(
        id="iemocap/Ses01F_impro01_M000",
        speaker="iemocap/Ses01M",
        sex="male",
        emotion="anger",
        sentence="do you have your forms laughter",
        video=f"{release}/{film('Ses01F_impro01')}",
        audio=f"{release}/{voice('Ses01F_impro01', 'M000')}",
        start="9.0000",
        end="12.2500",
        whole="audio",
        crop="right",
        session="iemocap/Ses01",
        dialogue="iemocap/Ses01F_impro01",
        turn="2",
        text="Do you have your forms? [LAUGHTER]",
    )


def test_turns_are_in_the_order_of_their_times_whoever_speaks(listing: Listing):
    found = by_name(listing)
    turns = {name: found[f"Ses02F_script01_1_{name}"].turn for name in ("F000", "M000", "F001")}
    assert turns == {"F000": "1", "M000": "2", "F001": "3"}


@pytest.mark.parametrize("code, emotion", [
    ("ang", "anger"), ("hap", "happiness"), ("exc", "happiness"), ("sad", "sadness"),
    ("neu", "neutral"),
])  # fmt: skip
def test_excitement_is_read_as_happiness(code: str, emotion: str, tmp_path: Path):
    assert one_turn(tmp_path / "c", "Ses01F_impro01", "F000", code).emotion == emotion


@pytest.mark.parametrize("code, word", [
    ("fru", "frustration"), ("sur", "surprise"), ("fea", "fear"), ("dis", "disgust"),
    ("oth", "other"), ("xxx", "no agreement"),
])  # fmt: skip
def test_the_other_emotions_are_left_out_by_rule_and_named(code: str, word: str, tmp_path: Path):
    write_dialogue(tmp_path / "c", "Ses01F_impro01", [("F000", 1, 2, code)])
    make(tmp_path / "c", voice("Ses01F_impro01", "F000"))
    listing = read(tmp_path / "c", "iemocap")
    ((utterance, reason, _),) = listing.excluded
    assert listing.utterances == [] and reason == "emotion_excluded"
    assert (utterance.id, utterance.emotion) == ("iemocap/Ses01F_impro01_F000", word)


def test_the_small_corpus_has_three_of_four_turns_and_one_voice_is_missing(listing: Listing):
    assert len(listing.utterances) == 8 * 3 + 1
    assert Counter(code for _, code, _ in listing.excluded) == {"emotion_excluded": 8}
    ((utterance, why),) = listing.missing
    assert utterance.id == "iemocap/Ses02M_script01_1_F001"
    assert why == "no Ses02M_script01_1_F001.wav"
    assert by_name(listing)["Ses02M_script01_1_F001"].audio == ""  # its face is used


def test_dialogues_with_a_letter_are_dialogues_of_their_own(listing: Listing):
    utterance = by_name(listing)["Ses02F_impro05a_M003"]
    assert utterance.dialogue == "iemocap/Ses02F_impro05a"
    assert (utterance.video, utterance.speaker) == ("", "iemocap/Ses02M")


def test_all_media_are_used_or_not_needed_and_what_has_no_text_is_told(listing: Listing):
    assert not [note for note in listing.notes if "not used" in note]
    assert [name for name in listing.spare if "/dialog/wav/" not in name] == []
    assert len(listing.spare) == 8
    assert "no face, 1 of 25 turns: iemocap/Ses02F_impro05a_M003" in listing.notes
    (note,) = [note for note in listing.notes if note.startswith("no text, ")]
    assert note.startswith("no text, 9 of 25 turns: iemocap/Ses01F_impro01_F001, ")


def test_the_sounds_alone_are_voices_without_faces(tmp_path: Path):
    write_dialogue(tmp_path / "c", "Ses01F_impro01", [("F000", 1, 2, "sad")])
    make(tmp_path / "c", voice("Ses01F_impro01", "F000"))
    listing = read(tmp_path / "c", "iemocap")
    assert [item.video for item in listing.utterances] == [""]
    assert f"no faces: dialog/avi/DivX, which has them, is not below {tmp_path / 'c'}" in (
        listing.notes
    )


def test_turns_that_share_more_than_half_of_the_shorter_are_told_apart(tmp_path: Path):
    turns = [("F000", 1, 5, "sad"), ("M000", 4, 5.5, "ang"), ("M001", 5.4, 9, "ang")]
    write_dialogue(tmp_path / "c", "Ses01F_impro01", turns)
    make(tmp_path / "c", *(voice("Ses01F_impro01", turn[0]) for turn in turns))
    listing = read(tmp_path / "c", "iemocap")
    assert {name[-4:]: item.overlaps for name, item in by_name(listing).items()} == {
        "F000": "iemocap/Ses01F_impro01_M000",
        "M000": "iemocap/Ses01F_impro01_F000",
        "M001": "",
    }
    assert any(note.startswith("2 turns overlap others") for note in listing.notes)


def test_a_voice_that_is_there_twice_is_named(tmp_path: Path):
    write_dialogue(tmp_path / "c", "Ses01F_impro01", [("F000", 1, 2, "sad")])
    first = voice("Ses01F_impro01", "F000")
    make(tmp_path / "c", first, f"again/{first}")
    listing = read(tmp_path / "c", "iemocap")
    ((utterance, code, detail),) = listing.excluded
    assert (utterance.audio, code) == (f"again/{first}", "duplicate")
    assert detail == f"again/{first} repeats {first}" and len(listing.utterances) == 1


def test_a_table_in_two_versions_is_refused_and_a_copy_is_read_once(tmp_path: Path):
    for release in ("a", "b"):
        write_dialogue(tmp_path / "c" / release, "Ses01F_impro01", [("F000", 1, 2, "sad")])
    make(tmp_path / "c", f"a/{voice('Ses01F_impro01', 'F000')}")
    assert len(read(tmp_path / "c", "iemocap").utterances) == 1
    write_dialogue(tmp_path / "c/b", "Ses01F_impro01", [("F000", 1, 2, "ang")])
    message = user_error(read, tmp_path / "c", "iemocap")
    table = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    assert message == f"{tmp_path}/c/b/{table}: differs from a/{table}; keep one"


@pytest.mark.parametrize(
    "line, message",
    [
        ("[1.0 - 2.0]\tSes01F_impro01_F000\tbor\t[1, 1, 1]", "emotion 'bor' is not one of ang, "),
        ("[1.0 - 2.0]\tSes01F_impro02_F000\tsad\t[1, 1, 1]", "is no turn of Ses01F_impro01; "),
        ("[1.0 - 2.0]\tSes01F_impro01_FXX0\tsad\t[1, 1, 1]", "is no turn of Ses01F_impro01; "),
        ("[1.0 - x]\tSes01F_impro01_F000\tsad\t[1, 1, 1]", "is no turn of Ses01F_impro01; "),
        ("[2.0 - 2.0]\tSes01F_impro01_F000\tsad\t[1, 1, 1]", "ends before it begins; "),
        ("[1.0 - 2.0]\tSes01F_impro01_F001\tsad\t[1, 1, 1]", "F001 is already in line 1; keep one"),
    ],
)
def test_a_line_that_cannot_be_is_refused_by_its_number(line: str, message: str, tmp_path: Path):
    path = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    path.parent.mkdir(parents=True)
    path.write_text(f"[1.0 - 2.0]\tSes01F_impro01_F001\tsad\t[1, 1, 1]\n{line}\n")
    found = user_error(read, tmp_path, "iemocap")
    assert found.startswith(f"{path}: line 2: ") and message in found


def test_a_variant_has_its_own_ids_and_the_same_speakers_sessions_and_dialogues(small: Path):
    one, other = (by_name(read(small, name)) for name in ("iemocap", "iemocap_small"))
    first, second = one["Ses01F_impro01_F000"], other["iemocap_small/Ses01F_impro01_F000"]
    assert second.id == "iemocap_small/Ses01F_impro01_F000"
    for key in ("speaker", "session", "dialogue"):
        assert getattr(first, key) == getattr(second, key)
