"""RAVDESS as its archives unpack it; only the names count, so the files are empty."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.ravdess import OFFICIAL, read
from stages.corpora.utterance import Listing, Utterance, differences

ACTORS = [f"{actor:02d}" for actor in range(1, 25)]
TAKE = "01-05-01-02-01-03"  # angry, normal intensity, "dogs", actor 3


def official_takes(actor: str) -> list[str]:
    """The 60 speech takes of an actor: neutral has no strong intensity."""
    combinations = itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2))
    return [
        f"01-{emotion:02d}-{intensity:02d}-{sentence:02d}-{repetition:02d}-{actor}"
        for emotion, intensity, sentence, repetition in combinations
        if (emotion, intensity) != (1, 2)
    ]


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listing_of(root: Path, *names: str) -> Listing:
    make(root, *names)
    return read(root, "ravdess")


def only(listing: Listing) -> Utterance:
    (utterance,) = listing.utterances
    return utterance


def codes(listing: Listing) -> Counter:
    return Counter(code for _, code, _ in listing.excluded)


@pytest.fixture(scope="module")
def audio_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audio_Speech_Actors_01-24.zip as it unpacks."""
    root = tmp_path_factory.mktemp("ravdess")
    make(root, *(f"Actor_{a}/03-{take}.wav" for a in ACTORS for take in official_takes(a)))
    return root


@pytest.fixture(scope="module")
def all_archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audio archive and all 24 video archives, each in a folder of its name."""
    root = tmp_path_factory.mktemp("ravdess")
    for actor in ACTORS:
        video, audio = f"Video_Speech_Actor_{actor}", "Audio_Speech_Actors_01-24"
        for take in official_takes(actor):
            make(root, *(f"{video}/Actor_{actor}/{m}-{take}.mp4" for m in ("01", "02")))
            make(root, f"{audio}/Actor_{actor}/03-{take}.wav")
    return root


def test_the_audio_archive_holds_1440_takes_of_which_192_are_calm(audio_archive: Path):
    listing = read(audio_archive, "ravdess")
    assert len(listing.utterances) + len(listing.excluded) == 1440 == listing.expected
    assert codes(listing) == {"emotion_excluded": 192}


def test_the_audio_archive_has_192_takes_an_emotion_and_96_neutral_ones(audio_archive: Path):
    counts = Counter(item.emotion for item in read(audio_archive, "ravdess").utterances)
    six = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert counts == dict.fromkeys(six, 192) | {"neutral": 96}


def test_the_audio_archive_is_all_that_the_publisher_ships(audio_archive: Path):
    assert differences(read(audio_archive, "ravdess")) == []


def test_the_audio_archive_has_24_speakers_with_52_takes_each(audio_archive: Path):
    counts = Counter(item.speaker for item in read(audio_archive, "ravdess").utterances)
    assert counts == {f"ravdess/{actor}": 52 for actor in ACTORS}


def test_the_audio_archive_has_voices_and_no_faces(audio_archive: Path):
    utterances = read(audio_archive, "ravdess").utterances
    assert all(item.audio.endswith(".wav") and not item.video for item in utterances)


def test_all_archives_together_give_each_take_once(all_archives: Path):
    utterances = read(all_archives, "ravdess").utterances
    assert len({item.id for item in utterances}) == len(utterances) == 1248


def test_all_archives_together_give_each_take_its_face_and_its_voice(all_archives: Path):
    for item in read(all_archives, "ravdess").utterances:
        take = item.id.removeprefix("ravdess/")
        assert Path(item.video).name == f"01-{take}.mp4"
        assert Path(item.audio).name == f"03-{take}.wav"


def test_all_archives_together_repeat_nothing(all_archives: Path):
    assert codes(read(all_archives, "ravdess")) == {"emotion_excluded": 192}


def test_a_name_is_understood(tmp_path: Path):
    assert only(listing_of(tmp_path, f"Actor_03/01-{TAKE}.mp4")) == Utterance(
        id=f"ravdess/{TAKE}",
        speaker="ravdess/03",
        sex="male",
        emotion="anger",
        sentence="dogs",
        video=f"Actor_03/01-{TAKE}.mp4",
        audio=f"Actor_03/01-{TAKE}.mp4",
    )


@pytest.mark.parametrize(
    "number, emotion",
    [
        (1, "neutral"),
        (2, "calm"),
        (3, "happiness"),
        (4, "sadness"),
        (5, "anger"),
        (6, "fear"),
        (7, "disgust"),
        (8, "surprise"),
    ],
)
def test_the_emotions_are_numbered_as_published(number: int, emotion: str, tmp_path: Path):
    listing = listing_of(tmp_path, f"03-01-{number:02d}-01-01-01-12.wav")
    found = listing.utterances or [utterance for utterance, _, _ in listing.excluded]
    assert [item.emotion for item in found] == [emotion]


def test_calm_is_left_out_by_rule_and_named(tmp_path: Path):
    listing = listing_of(tmp_path, "03-01-02-01-01-01-12.wav")
    ((utterance, code, _),) = listing.excluded
    assert listing.utterances == []
    assert (utterance.id, code) == ("ravdess/01-02-01-01-01-12", "emotion_excluded")


def test_a_video_only_file_gives_a_face_and_never_a_voice(tmp_path: Path):
    listing = listing_of(tmp_path, f"02-{TAKE}.mp4")
    utterance = only(listing)
    assert (utterance.video, utterance.audio) == (f"02-{TAKE}.mp4", "")
    assert codes(listing) == {"not_speech": 1}


def test_a_video_only_file_beside_an_audio_only_file_is_one_utterance(tmp_path: Path):
    listing = listing_of(tmp_path, f"02-{TAKE}.mp4", f"03-{TAKE}.wav")
    utterance = only(listing)
    assert (utterance.video, utterance.audio) == (f"02-{TAKE}.mp4", f"03-{TAKE}.wav")
    assert listing.excluded == []


def test_the_audio_video_file_is_preferred_for_the_face(tmp_path: Path):
    names = [f"a/02-{TAKE}.mp4", f"b/01-{TAKE}.mp4"]
    assert only(listing_of(tmp_path, *names)).video == f"b/01-{TAKE}.mp4"


def test_the_audio_only_file_is_preferred_for_the_voice(tmp_path: Path):
    names = [f"a/01-{TAKE}.mp4", f"b/03-{TAKE}.wav"]
    assert only(listing_of(tmp_path, *names)).audio == f"b/03-{TAKE}.wav"


def test_a_file_that_repeats_another_is_named(tmp_path: Path):
    nested = f"archive/archive/Actor_03/03-{TAKE}.wav"
    listing = listing_of(tmp_path, f"Actor_03/03-{TAKE}.wav", nested)
    ((utterance, code, detail),) = listing.excluded
    assert only(listing).audio == f"Actor_03/03-{TAKE}.wav"
    assert (utterance.id, code) == (f"ravdess/{TAKE}", "duplicate")
    assert detail == f"{nested} repeats Actor_03/03-{TAKE}.wav"


@pytest.mark.parametrize(
    "name",
    [
        "03-02-05-01-02-01-03.wav",  # song
        "._03-01-05-01-02-01-03.wav",  # what macOS leaves behind
        "__MACOSX/Actor_03/._03-01-05-01-02-01-03.wav",
        "03-01-09-01-02-01-03.wav",
        "03-01-05-01-02-01.wav",
        "03-01-05-01-02-01-03 copy.wav",
        "03-01-05-01-02-01-03.wav.part",
        "README.txt",
    ],
)
def test_what_is_not_a_speech_file_is_passed_over(name: str, tmp_path: Path):
    assert listing_of(tmp_path, name) == Listing(official=OFFICIAL)


def test_a_variant_has_its_own_ids_and_the_same_speakers(tmp_path: Path):
    make(tmp_path, f"01-{TAKE}.mp4")
    utterance = only(read(tmp_path, "ravdess_grey"))
    assert (utterance.id, utterance.speaker) == (f"ravdess_grey/{TAKE}", "ravdess/03")


def test_the_order_of_the_files_on_disk_does_not_matter(tmp_path: Path):
    names = [f"Actor_{a}/03-{take}.wav" for a in ACTORS[:2] for take in official_takes(a)[:9]]
    make(tmp_path / "one", *names)
    make(tmp_path / "other", *reversed(names))
    assert read(tmp_path / "one", "ravdess") == read(tmp_path / "other", "ravdess")


@pytest.mark.parametrize("suffix", [".WAV", ".flac", ".m4a", ".Mp3", ".opus", ".mp4", ".ogg"])
def test_a_voice_may_be_in_any_format(suffix: str, tmp_path: Path):
    utterance = only(listing_of(tmp_path, f"03-{TAKE}{suffix}"))
    assert (utterance.video, utterance.audio) == ("", f"03-{TAKE}{suffix}")


@pytest.mark.parametrize("modality", ["01", "02"])
@pytest.mark.parametrize("suffix", [".MP4", ".mkv", ".avi", ".WebM"])
def test_a_face_may_be_in_any_format(modality: str, suffix: str, tmp_path: Path):
    assert only(listing_of(tmp_path, f"{modality}-{TAKE}{suffix}")).video == (
        f"{modality}-{TAKE}{suffix}"
    )


def test_the_sound_of_an_audio_video_file_is_a_voice_where_there_is_no_other(tmp_path: Path):
    sound = f"a/01-{TAKE}.wav"
    utterance = only(listing_of(tmp_path / "one", sound))
    assert (utterance.video, utterance.audio) == ("", sound)
    listing = listing_of(tmp_path / "both", sound, f"b/01-{TAKE}.mp4")
    assert only(listing).video == only(listing).audio == f"b/01-{TAKE}.mp4"
    assert listing.spare == [sound]


def test_the_sound_of_a_video_only_file_is_no_voice(tmp_path: Path):
    assert listing_of(tmp_path, f"02-{TAKE}.wav") == Listing(official=OFFICIAL)


def test_video_only_files_beside_audio_video_files_are_not_needed(tmp_path: Path):
    names = [f"01-{TAKE}.mp4", f"02-{TAKE}.mp4"]
    assert listing_of(tmp_path, *names).spare == names[1:]


def test_a_copy_as_a_browser_names_it_is_the_same_take(tmp_path: Path):
    copy = f"03-{TAKE} (1).wav"
    assert only(listing_of(tmp_path / "one", copy)).audio == copy
    listing = listing_of(tmp_path / "both", copy, f"03-{TAKE}.wav")
    assert only(listing).id == f"ravdess/{TAKE}"
    assert codes(listing) == {"duplicate": 1}
