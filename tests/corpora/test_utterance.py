"""What a listing tells about itself: how it differs from what the publisher ships."""

import pytest

from stages.corpora.utterance import Listing, Utterance, differences, first_five

OFFICIAL = {("train", "fear"): 2, ("train", "anger"): 1, ("dev", "fear"): 1, ("dev", "anger"): 1}


def utterances(*of: str) -> list[Utterance]:
    """Of "split emotion" each."""
    return [
        Utterance(f"c/{i}", "c/s", item.split()[1], split=item.split()[0])
        for i, item in enumerate(of)
    ]


def test_what_is_all_here_differs_in_nothing():
    listing = Listing(
        utterances("train fear", "train fear", "train anger", "dev fear", "dev anger"),
        official=OFFICIAL,
    )
    assert differences(listing) == []
    assert listing.expected == 5


def test_each_emotion_of_each_split_is_counted():
    listing = Listing(utterances("train fear", "train anger", "dev anger"), official=OFFICIAL)
    assert differences(listing) == ["train fear 1 of 2", "dev fear 0 of 1"]


def test_a_split_that_is_not_here_is_told_once():
    listing = Listing(utterances("dev fear", "dev anger"), official=OFFICIAL)
    assert differences(listing) == ["train 0 of 3"]


def test_more_than_is_official_is_told_too():
    listing = Listing(
        utterances("dev fear", "dev fear", "dev anger", "dev joy"),
        official={("dev", "fear"): 1, ("dev", "anger"): 1},
    )
    assert differences(listing) == ["dev fear 2 of 1", "dev joy 1 of 0"]


def test_a_corpus_without_splits_is_told_by_emotion():
    listing = Listing([Utterance("c/1", "c/s", "fear")], official={("", "fear"): 1, ("", "joy"): 2})
    assert differences(listing) == ["joy 0 of 2"]


def test_what_a_rule_leaves_out_is_here_and_counted_once():
    (kept, left) = utterances("dev fear", "dev anger")
    listing = Listing(
        [kept],
        [(left, "known_bad", ""), (kept, "duplicate", "")],
        official={("dev", "fear"): 1, ("dev", "anger"): 1},
    )
    assert differences(listing) == []


def test_what_is_missing_is_not_here():
    (absent,) = utterances("dev fear")
    listing = Listing(missing=[(absent, "no file")], official={("dev", "fear"): 1})
    assert differences(listing) == ["dev 0 of 1"]


def test_without_official_counts_nothing_can_differ():
    assert differences(Listing(utterances("dev fear"))) == []
    assert Listing(utterances("dev fear")).expected is None


@pytest.mark.parametrize(
    "names, expected",
    [
        ([], ""),
        (["a", "b"], "a, b"),
        (list("abcde"), "a, b, c, d, e"),
        (list("abcdef"), "a, b, c, d, e, ..."),
        (["a\nb"], "'a\\nb'"),
    ],
)
def test_five_names_are_told(names: list[str], expected: str):
    assert first_five(names) == expected
