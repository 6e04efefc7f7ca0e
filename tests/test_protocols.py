"""Protocols: what tests does not train, and the folds are fair."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.failures import UserError
from stages.protocols import test_folds as assign_test_folds
from stages.protocols import visual_roles

Voices = tuple[list[str], list[str]]  # emotions, speakers

voices = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("STUVWXYZ")), max_size=80,
                  min_size=1).map(lambda rows: tuple(map(list, zip(*rows))))
folds_and_seed = st.tuples(st.integers(2, 6), st.integers(0, 2**31))


@given(voices, folds_and_seed)
def test_paper_tests_every_voice_in_one_of_the_folds(of: Voices, drawn: tuple[int, int]):
    found = assign_test_folds("paper", *of, *drawn)
    assert found.shape == (len(of[0]),) and set(found.tolist()) <= set(range(drawn[0]))


@given(voices, folds_and_seed)
def test_paper_tests_each_emotion_equally_often_in_all_folds(of: Voices, drawn: tuple[int, int]):
    folds, _ = drawn
    found = assign_test_folds("paper", *of, *drawn)
    for emotion in set(of[0]):
        counts = np.bincount(found[np.array(of[0]) == emotion], minlength=folds)
        assert counts.max() - counts.min() <= 1


@given(voices, folds_and_seed)
def test_paper_gives_all_folds_equally_many_voices(of: Voices, drawn: tuple[int, int]):
    counts = np.bincount(assign_test_folds("paper", *of, *drawn), minlength=drawn[0])
    assert counts.max() - counts.min() <= 1


@given(voices, folds_and_seed)
def test_speaker_never_divides_a_speaker(of: Voices, drawn: tuple[int, int]):
    if len(set(of[1])) < drawn[0]:
        return
    found = assign_test_folds("speaker", *of, *drawn)
    assert len(set(zip(of[1], found.tolist()))) == len(set(of[1]))


@given(voices, folds_and_seed)
def test_speaker_gives_all_folds_equally_many_speakers(of: Voices, drawn: tuple[int, int]):
    if len(set(of[1])) < drawn[0]:
        return
    found = dict(zip(of[1], assign_test_folds("speaker", *of, *drawn).tolist()))
    counts = Counter(found.values())
    assert len(counts) == drawn[0] and max(counts.values()) - min(counts.values()) <= 1


@given(voices, folds_and_seed, st.sampled_from(["paper", "speaker"]))
def test_the_same_seed_gives_the_same_folds(of: Voices, drawn: tuple[int, int], protocol: str):
    if protocol == "speaker" and len(set(of[1])) < drawn[0]:
        return
    first, second = (assign_test_folds(protocol, *of, *drawn) for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
def test_another_seed_gives_other_folds(protocol: str):
    emotions, speakers = list("abcdefg") * 12, [f"s{i // 7}" for i in range(84)]
    first, second = (assign_test_folds(protocol, emotions, speakers, 4, seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_speaker_refuses_more_folds_than_speakers():
    with pytest.raises(UserError, match=r"folds: 5 is more than the 2 speakers .* folds <= 2$"):
        assign_test_folds("speaker", ["a"] * 4, ["x", "y", "x", "y"], 5, 0)


def test_paper_trains_on_all_faces():
    assert visual_roles("paper", ["x", "y"], {"x"}) == ["train", "train"]


def test_speaker_leaves_out_the_faces_of_test_speakers():
    assert visual_roles("speaker", ["x", "y", "x"], {"x"}) == ["out", "train", "out"]
