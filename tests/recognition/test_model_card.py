"""The model card says what the bundle holds, and nothing that it does not."""

from pathlib import Path
from typing import Any

import pytest

from stages.recognition.bundle import read_contents
from stages.recognition.model_card import render
from tests.bundle_files import RESULT, write_small_bundle


def card(folder: Path, flags: dict[str, Any] | None = None, **changes: Any) -> str:
    write_small_bundle(folder, flags, **changes)
    return render(read_contents(folder))


def test_data_results_and_settings_are_those_of_the_bundle(tmp_path: Path):
    text = card(tmp_path)
    for said in (
        "all 28 utterances of `ravdess`",
        "faces of 30 clips of ravdess",
        "for 3 epochs with 2 seeds",
        "UAR 0.815 [0.765, 0.864], WAR 0.800 (7 of 9), w-F1 0.790",
        "| anger | 0.80 | 1.00 | 5 |",
        "| fear | 0.00 | never predicted | 4 |",
        "temperature of 2.00",
        "0.210 without it",
        "0.040 with it",
        "- `ravdess`: CC BY-NC-SA 4.0",
        "- `folder`: known to its owner alone",
        "squeezenet1_1, random weights (seed 0)",
    ):
        assert said in " ".join(text.split("\n")), said
    assert "disgust |" not in text and "Undefined" not in text and "None" not in text


@pytest.mark.parametrize(
    "result, said",
    [
        ({"acoustic": "sample"}, "The sample is synthetic"),
        ({"labels_shuffled": True}, "The labels are shuffled"),
        ({"n_test_with_trained_face": 9}, "The faces of 9 of the 9 test utterances"),
    ],
)
def test_cautions_of_the_result_are_limits_of_the_model(
    result: dict[str, Any], said: str, tmp_path: Path
):
    assert said not in card(tmp_path)
    assert f"\n- {said}" in card(tmp_path, result=RESULT | result)


def test_a_model_without_temperature_or_faces_says_so(tmp_path: Path):
    result = RESULT | {"calibration": {"n_validation": 0, "ece_before": 0.21}}
    text = card(
        tmp_path, {"acoustic_only": True}, inference="none", temperature=None, result=result
    )
    assert "are not calibrated" in text and "temperature of" not in text
    assert "faces of" not in text.split("###")[0]


def test_the_card_is_markdown_that_ends_in_one_line_end(tmp_path: Path):
    text = card(tmp_path)
    assert text.startswith("# Models\n") and text.endswith(".\n") and not text.endswith("\n\n")
    assert "\n\n\n" not in text
