"""A result in words: nothing that a reader must know is left out, and nothing else is said."""

from typing import Any

import pytest

from stages.corpora.emotions import EMOTIONS
from stages.scoring.summary import cautions, circumstances, headline

RESNET = {"name": "resnet34", "weights": "random"}
DETAILS: dict[str, Any] = {
    "system": "fdan",
    "acoustic": "ravdess",
    "visual": ["ravdess"],
    "protocol": "speaker",
    "uar": 0.815476,  # 0.815, and from four decimals it would be 0.816
    "war": 0.8,
    "w_f1": 0.79,
    "ci95": {"uar_by_utterance": {"low": 0.764512, "high": 0.864319}},
    "n_test": 9,
    "n_correct": 7.333333,
    "n_folds": 5,
    "n_seeds": 3,
    "encoders": {modality: RESNET | {"weights": "imagenet"} for modality in ("visual", "acoustic")},
    "labels_shuffled": False,
    "n_test_with_trained_face": 0,
    "n_test_with_suspected_copy": 0,
    "n_test_with_trained_text": 0,
    "text_leak": False,
    "test_modalities": ["acoustic"],
    "skipped_unevenly": {},
    "classes": dict.fromkeys(EMOTIONS, {"support": 1.0}),
}


def test_the_headline_has_the_interval_and_the_counts():
    said = "UAR 0.815 [0.765, 0.864], WAR 0.800 (7.3 of 9), w-F1 0.790"
    assert headline(DETAILS) == said
    assert "(7 of 9)" in headline(DETAILS | {"n_correct": 7.0})


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {},
            "fdan on ravdess, protocol speaker, 5 folds, mean of 3 seeds, resnet34 with imagenet "
            "weights",
        ),
        (
            {"n_folds": 1, "n_seeds": 1},
            "fdan on ravdess, protocol speaker, 1 fold, one seed, resnet34 ",
        ),
        (
            {"visual": ["savee", "meld"]},
            "fdan on ravdess with faces of savee, meld, protocol speaker, ",
        ),
        ({"visual": []}, "fdan on ravdess, protocol speaker, "),
        (
            {"visual": ["savee"], "test": "emodb"},
            "fdan trained on ravdess with faces of savee, tested on emodb, protocol speaker, ",
        ),
        (
            {"visual": ["ravdess", "emodb"], "test": "emodb"},  # whose faces are not learned
            "fdan trained on ravdess, tested on emodb, protocol speaker, ",
        ),
        (
            {"train_share": 0.25},
            "fdan on ravdess, 25 % of the training speakers, protocol speaker, ",
        ),
        (
            {"classes": {"anger": {}, "sadness": {}}},
            "fdan on ravdess, 2 classes (anger, sadness), protocol speaker, ",
        ),
        (
            {"encoders": {**DETAILS["encoders"], "acoustic": RESNET}},
            "fdan on ravdess, protocol speaker, 5 folds, mean of 3 seeds, "
            "resnet34 with imagenet weights for faces, resnet34 with random weights for voices",
        ),
        (
            {"encoders": {}, "system": "gm_tcnet", "visual": []},
            "gm_tcnet on ravdess, protocol speaker, 5 folds, mean of 3 seeds, no frozen encoder",
        ),
        (
            {
                "encoders": {"linguistic": {"name": "a/b"}},
                "test_modalities": ["acoustic", "visual"],
            },
            "fdan on ravdess, protocol speaker, 5 folds, mean of 3 seeds, a/b, told by voice and "
            "faces",
        ),
    ],
)
def test_the_circumstances_name_the_system_corpora_protocol_seeds_and_encoders(
    changes: dict[str, Any], said: str
):
    assert circumstances(DETAILS | changes).startswith(said)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"acoustic": "sample"}, "synthetic"),
        ({"visual": ["ravdess", "sample"]}, "synthetic"),
        ({"encoders": {"visual": RESNET, "acoustic": RESNET}}, "The encoder has random weights"),
        ({"encoders": {**DETAILS["encoders"], "visual": RESNET}}, "The visual encoder has random"),
        ({"labels_shuffled": True}, "shuffled"),
        ({"n_test_with_trained_face": 8}, "faces of 8 of the 9 test utterances were trained on"),
        ({"text_leak": True}, "The sentences of the corpus are fixed"),
        ({"n_test_with_trained_text": 3}, "3 test utterances say word for word what a training"),
        ({"n_test_with_suspected_copy": 2}, "2 test utterances sound like one that was learned"),
        ({"skipped_unevenly": {"ravdess": {"mels": {"anger": 0.5}}}}, "far more often"),
    ],
)
def test_a_caution_is_given_where_there_is_reason_for_it_alone(changes: dict[str, Any], said: str):
    assert cautions(DETAILS) == []
    (caution,) = cautions(DETAILS | changes)
    assert said in caution
