"""The test clips once more, distorted: on the embedded sample, and what is told of predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import (
    acoustic_features,
    evaluate,
    frames,
    linguistic_features,
    manifest,
    mels,
    sample,
    split,
    train,
    transcripts,
    visual_features,
)
from stages.commands.robustness import (
    Condition,
    Retest,
    as_markdown,
    check_fit,
    corrected,
    main,
    told,
)
from stages.corpora.emotions import CODES
from stages.distortion.distortions import FACES, SOUNDS
from stages.encoders.speech import SAMPLE_RATE
from stages.io.files import read_table, write_table
from stages.media.audio import read_audio
from stages.runtime.paths import PREDICTIONS, RAW, SPLIT, manifest_path
from stages.scoring.predictions import COLUMNS
from tests.helpers import both, user_error, write_params
from tests.media_files import write_sound

SMALL: dict[str, Any] = {
    "sample": {"speakers": 3, "sentences": 1},
    "protocol": "speaker",
    "folds": 3,
    "seeds": 2,
    "epochs": 2,
}
SEEN_AND_HEARD = {"system": "linear_probe", "linear_probe": {"modalities": ["acoustic", "visual"]}}


def reproduce(**changes: Any) -> None:
    """All stages up to evaluate on a small sample, in the working directory."""
    write_params(Path(), **{**SMALL, "encoders": both(name="squeezenet1_1"), **changes})
    # Processes that joblib keeps would work in the folder of an earlier test.
    sample.make_corpus(RAW / "sample", seed=0, jobs=1, **SMALL["sample"])
    for stage in (manifest, frames, mels, transcripts):
        stage.main("sample")
    for stage in (visual_features, acoustic_features, linguistic_features):
        stage.main("sample")
    for last in (split, train, evaluate):
        last.main()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a probe of voices and faces has been tested, with its cache of clips."""
    folder = tmp_path_factory.mktemp("robustness")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FDAN_CACHE", str(folder / "cache"))
        reproduce(**SEEN_AND_HEARD)
    return folder


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as working directory."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("FDAN_CACHE", str(made / "cache"))
    return made


def printed(capsys: pytest.CaptureFixture, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    main([*words, "--json"])
    return json.loads(capsys.readouterr().out)


def test_all_that_can_be_distorted_is_and_clean_is_what_evaluate_found(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in project.glob("[dm]*/**/*") if path.is_file()}
    found = printed(capsys)
    assert [item["name"] for item in found] == ["clean", *SOUNDS, *FACES]
    details = json.loads((project / "metrics/details.json").read_text())
    assert {key: found[0][key] for key in ("war", "uar", "w_f1", "n_test")} == {
        key: pytest.approx(details[key], abs=1e-6) for key in ("war", "uar", "w_f1", "n_test")
    }
    ends = details["ci95"]["uar_by_utterance"]
    assert found[0]["uar_interval"] == pytest.approx([ends["low"], ends["high"]], abs=1e-6)
    assert all(item["changed"] > 0 for item in found[1:])
    assert all(item["n_test"] == 21 and item["unusable"] == {} for item in found)
    after = {path: path.read_bytes() for path in project.glob("[dm]*/**/*") if path.is_file()}
    assert before == after  # nothing is written


def test_the_chosen_conditions_are_shown_in_their_order(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    main(["--conditions", "dark,noise_0,dark"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["clean", "dark", "noise_0"]
    assert "corrected for 2 conditions (Holm)" in "\n".join(lines)


def test_only_what_is_tested_and_distorted_has_other_features(project: Path) -> None:
    retest = Retest()
    clips = retest.clips()
    tested = sorted(clips.tested)
    clips.tested = set(tested[1:])
    quiet, _ = clips.under("quiet")
    dark, _ = clips.under("dark")
    old = retest.features
    for name in tested:
        is_tested = name in clips.tested
        assert np.array_equal(quiet.acoustic[name], old.acoustic[name]) != is_tested
        assert np.array_equal(dark.visual[name], old.visual[name]) != is_tested
        assert np.array_equal(quiet.visual[name], old.visual[name])
        assert np.array_equal(dark.acoustic[name], old.acoustic[name])


@pytest.mark.parametrize(
    "words, message",
    [
        ("drk", "'drk' is none of noise_20, "),
        ("", "'' is none of noise_20, "),
    ],
)
def test_a_condition_that_nobody_knows_is_one_line(words: str, message: str) -> None:
    assert message in user_error(main, ["--conditions", words])


def test_a_clip_that_a_distortion_makes_unusable_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    peaks = {
        row["id"]: np.abs(read_audio(RAW / "sample" / row["audio"], SAMPLE_RATE)).max()
        for row in read_table(manifest_path("sample"))
    }
    limit = 0.1 * float(np.median(list(peaks.values()))) * (1 - 1e-6)
    monkeypatch.setattr("stages.media.audio.SILENCE", limit)
    found = printed(capsys, "--conditions", "quiet,telephone")
    silent = found[1]["unusable"]
    assert set(silent) == {name for name, peak in peaks.items() if 0.1 * peak < limit}
    assert len(silent) == 10 and all(why.startswith("silent: ") for why in silent.values())
    assert found[1]["n_test"] == found[1]["comparison"]["n_test"] == 21 - len(silent)
    assert found[2]["n_test"] == 21 and found[2]["unusable"] == {}


def test_where_nothing_can_be_used_a_line_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(SOUNDS, "quiet", lambda wave, rate: np.zeros_like(wave))
    main(["--conditions", "quiet"])
    said = capsys.readouterr().out
    assert (
        "quiet: clips that cannot be used, and are left out: 21, first sample/F1_AN_s1: silent"
        in said
    )


def test_predictions_of_other_clips_are_one_line(project: Path) -> None:
    known = PREDICTIONS.read_bytes()
    rows = read_table(PREDICTIONS)
    code = next(code for code in CODES if float(rows[3][code]) > 0.001)
    rows[3][code] = f"{float(rows[3][code]) - 1e-6:.6f}"
    try:
        write_table(PREDICTIONS, COLUMNS, rows)
        message = user_error(main, ["--conditions", "quiet"])
        assert message.startswith(f"{PREDICTIONS}: 1 of 42 predictions are not what the clips, ")
        assert rows[3]["id"] in message and "run dvc repro" in message
        write_table(PREDICTIONS, COLUMNS, rows[:-1])
        assert "run dvc repro" in user_error(main, [])
    finally:
        PREDICTIONS.write_bytes(known)


def test_a_split_that_leaks_is_refused(project: Path) -> None:
    known = SPLIT.read_bytes()
    rows = read_table(SPLIT)
    tested = next(row for row in rows if row["fold_0"] == "test")
    taught = next(row for row in rows if row["fold_0"] == "train")
    taught["speaker"] = tested["speaker"]
    try:
        write_table(SPLIT, list(rows[0]), rows)
        message = user_error(main, ["--conditions", "quiet"])
        assert message.startswith(f"{SPLIT}: fold 0: ") and "is learned from" in message
    finally:
        SPLIT.write_bytes(known)


def test_a_clip_that_is_another_now_is_found(project: Path) -> None:
    row = read_table(manifest_path("sample"))[5]
    path = RAW / "sample" / row["audio"]
    known = path.read_bytes()
    wave = read_audio(path, SAMPLE_RATE)
    try:
        write_sound(path.with_suffix(".wav"), wave[None, ::-1].copy(), SAMPLE_RATE)
        path.write_bytes(path.with_suffix(".wav").read_bytes())
        message = user_error(main, [])
        assert message.startswith(f"{PREDICTIONS}: 2 of 42 predictions") and row["id"] in message
        path.write_bytes(b"no clip")
        assert row["audio"] in user_error(main, [])
    finally:
        path.write_bytes(known)
        path.with_suffix(".wav").unlink(missing_ok=True)


# What reads voices, faces and words in another way each.
SYSTEMS: dict[str, dict[str, Any]] = {
    "fdan": {},
    "spectrograms, and copies of them": {
        "system": "gm_tcnet",
        "gm_tcnet": {"epochs": 15},
        "augmentation": {"time_mask": 0.1},
    },
    "sequences of a waveform": {
        "system": "query_tokens",
        "query_tokens": {"modalities": ["acoustic", "visual"], "epochs": 2},
        "encoders": {
            "acoustic": {"name": "hand_features", "weights": "published", "sequences": True},
        },
        "test_modalities": ["acoustic", "visual"],
    },
    "copies of a waveform": {
        "system": "tf_mix",
        "tf_mix": {"epochs": 2},
        "encoders": {
            "acoustic": {"name": "hand_features", "weights": "published", "sequences": True},
        },
    },
    "dialogues": {"system": "sdt", "sdt": {"modalities": ["acoustic", "visual"], "epochs": 2}},
}


@pytest.mark.long
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_kind_of_system_is_tested_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    reproduce(**SYSTEMS[name])
    found = printed(capsys)
    seen = "visual" in json.loads(Path("metrics/details.json").read_text())["test_modalities"]
    assert [item["name"] for item in found] == ["clean", *SOUNDS, *(FACES if seen else ())]
    assert sum(item["changed"] > 0 for item in found) > 4


def rows_of(hits: np.ndarray) -> list[dict[str, Any]]:
    """Predictions of utterances that are right where `hits` bool [n, S] says so."""
    n, seeds = hits.shape
    return [
        {
            "id": f"c/{i:03}",
            "speaker": f"c/S{i % 4}",
            "fold": 0,
            "seed": seed,
            "actual": CODES[i % 7],
            "predicted": CODES[i % 7 if hits[i, seed] else (i + 1) % 7],
        }
        for i in range(n)
        for seed in range(seeds)
    ]


def test_what_is_told_is_of_the_clips_that_can_be_used() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((140, 2)) < 0.8
    worse = hits & (rng.random((140, 2)) < 0.6)
    clean = rows_of(hits)
    usable = [row for row in rows_of(worse) if row["id"] != "c/003"]
    item = told("noise_0", usable, clean, {"c/003": "silent: why"}, 500)
    kept = np.arange(140) != 3
    assert item.n_test == 139 and item.war == pytest.approx(worse[kept].mean())
    assert item.changed == pytest.approx((hits != worse)[kept].sum() / 2)
    assert item.comparison is not None
    change = item.comparison.measures["war"]
    assert change.a == pytest.approx(hits[kept].mean()) and change.interval[1] < 0
    said = as_markdown(corrected([told("clean", clean, clean, {}, 500), item]))
    assert (
        "noise_0: clips that cannot be used, and are left out: 1, first c/003: silent: why" in said
    )
    assert said.splitlines()[3].split("|")[6].strip() == "yes"


def test_seeds_that_drop_differently_are_still_the_same_models() -> None:
    """The interval is of these models; with two seeds that of others could not be told."""
    hits = np.ones((140, 2), bool)
    worse = hits.copy()
    worse[:70, 0] = worse[:20, 1] = False
    item = told("quiet", rows_of(worse), rows_of(hits), {}, 500)
    assert item.comparison is not None
    low, high = item.comparison.measures["uar"].interval
    assert -0.42 < low < -0.32 < high < -0.22


def test_significance_is_corrected_for_the_number_of_conditions() -> None:
    clean = rows_of(np.ones((140, 1), bool))
    base = told("clean", clean, clean, {}, 2000)

    def worse(n: int) -> Condition:
        hits = np.ones((140, 1), bool)
        hits[:n] = False
        return told(f"{n}", rows_of(hits), clean, {}, 2000)

    same = told("same", clean, clean, {}, 2000)
    small, large = worse(5), worse(60)
    assert small.comparison is not None and small.comparison.measures["uar"].p < 0.05
    alone = corrected([base, small])
    many = corrected([base, small, *[same] * 30, large])
    assert [item.significant for item in alone] == [False, True]
    assert not many[1].significant and many[-1].significant


def test_the_same_predictions_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [row | dict.fromkeys(CODES, "0.1") for row in rows_of(np.ones((14, 1), bool))]
    write_table(PREDICTIONS, COLUMNS, rows)
    check_fit(rows)
    rows[2] = rows[2] | {"predicted": CODES[5], "seed": 0}
    assert "1 of 14 predictions" in user_error(check_fit, rows)
