"""The settings that cannot be carried out are refused before anything is decoded, all at once."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import plan, settings
from stages.corpora.emotions import CODES, EMOTIONS
from stages.corpora.listing import COLUMNS
from stages.encoders import by_name, huggingface_text, transcription
from stages.encoders.huggingface_text import WEIGHTS
from stages.io.files import write_table
from tests.feature_files import utterances
from tests.helpers import both, params, user_error, write_params

CHECKED = Path("data/checked/settings.json")
RAW = Path("data/raw")
IMAGENET = "https://download.pytorch.org/models/resnet34-b627a593.pth"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the committed params and the sample's names, without content."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    write_params(tmp_path)
    for speaker in ("F1", "F2", "M1", "M2"):
        for code in CODES:
            for number in range(1, 7):
                touch(RAW / f"sample/{speaker}/{speaker}_{code}_s{number}.mp4")
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_folder(speakers: int = 4, sentences: int = 2, video: str = "v.mp4") -> None:
    """The corpus `folder`, the names alone."""
    touch(RAW / "folder/v.mp4")
    touch(RAW / "folder/a.wav")
    rows = [
        {
            "id": row["id"].split("/")[1],
            "speaker": row["speaker"].split("/")[1],
            **{key: row[key] for key in ("emotion", "sentence")},
            "video": video,
            "audio": "a.wav",
        }
        for row in utterances("folder", speakers, sentences)
    ]
    with open(RAW / "folder/utterances.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def of_folder(**changes: Any) -> dict[str, Any]:
    chosen = {"corpora": ["folder"], "visual": ["folder"], "acoustic": "folder", "folds": 2}
    return chosen | {"encoders": {"allow_random_weights": True}} | changes


def refused(**changes: Any) -> list[str]:
    """The problems that the stage names; it leaves what it has written before."""
    write_params(Path(), **changes)
    CHECKED.parent.mkdir(parents=True, exist_ok=True)
    CHECKED.write_text("before")
    with pytest.raises(settings.UserError) as caught:
        settings.main()
    assert CHECKED.read_text() == "before"
    return str(caught.value).splitlines()


def accepted(**changes: Any) -> bytes:
    write_params(Path(), **changes)
    settings.main()
    return CHECKED.read_bytes()


def test_the_output_is_always_the_same() -> None:
    write_folder()
    contents = {accepted(), accepted(alpha=0.5, folds=4), accepted(**of_folder())}
    assert len(contents) == 1


def test_all_problems_are_told_at_once() -> None:
    found = refused(
        alpha=-1,
        folds=99,
        corpora=["sample", "ravdess", "nosuch"],
        visual=["sample", "savee"],
        encoders={"visual": {"name": "resnet35"}, "acoustic": {"db_min": 400}},
    )
    starts = [
        "params.yaml: visual: savee is not in corpora (sample, ravdess, nosuch); add it",
        "params.yaml: encoders.acoustic.db_min: 400 is not a number >= -300 and <= 300",
        "params.yaml: alpha: -1 is not a number >= 0",
        "params.yaml: encoders.visual.weights: random weights say nothing about ravdess; ",
        "params.yaml: encoders.visual.weights: random weights say nothing about nosuch; ",
        "params.yaml: encoders.visual.name: 'resnet35' is not a torchvision classification model; ",
        "params.yaml: encoders.acoustic.weights: random weights say nothing about ravdess; ",
        "params.yaml: encoders.acoustic.weights: random weights say nothing about nosuch; ",
        "data/raw/ravdess: no such folder; put or link the unpacked speech archives",
        "params.yaml: corpora: no reader for 'nosuch'; name it affectnet, ",
    ]
    assert len(found) == len(starts)
    assert all(line.startswith(start) for line, start in zip(found, starts))
    assert refused(alpha=-1, folds=99) == [
        "params.yaml: alpha: -1 is not a number >= 0",
        "params.yaml: folds: 99 is more than the 24 utterances of any emotion; this protocol needs "
        "folds <= 24",
    ]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"protocol": "speaker", "folds": 9}, "folds: 9 is more than the 4 speakers of the voices"),
        ({"protocol": "official", "folds": 1}, "protocol: folder/S0_AN_s0 has no official split"),
        ({"video": ""}, "visual: no utterance of folder has video; "),
    ],
)
def test_what_the_protocol_lacks_is_told_by_the_names_of_the_clips(
    changes: dict[str, Any], expected: str
) -> None:
    write_folder(video=changes.pop("video", "v.mp4"))
    [found] = refused(**of_folder(**changes))
    assert found.startswith(f"params.yaml: {expected}")


def test_where_a_corpus_has_grown_its_old_manifest_does_not_count() -> None:
    write_folder(speakers=6)
    write_table(Path("data/manifest/folder.csv"), COLUMNS, utterances("folder"))
    assert accepted(**of_folder(protocol="speaker", folds=6))


def test_where_a_corpus_is_not_on_disk_its_manifest_counts() -> None:
    """As in the copies in which queued experiments run."""
    rows = [row | {"video": "v.mp4", "audio": "a.wav"} for row in utterances("folder")]
    write_table(Path("data/manifest/folder.csv"), COLUMNS, rows)
    assert accepted(**of_folder())
    [found] = refused(**of_folder(protocol="speaker", folds=5))
    assert "folds: 5 is more than the 4 speakers" in found
    shutil.rmtree(RAW)
    assert accepted()


def test_a_sample_that_is_yet_to_be_made_is_not_judged_by_the_one_that_there_is() -> None:
    assert accepted(sample={"sentences": 30}, folds=99)
    assert accepted(sample={"speakers": 8}, protocol="speaker", folds=8)
    assert len(refused(protocol="speaker", folds=8)) == 1
    shutil.rmtree(RAW)
    assert accepted(folds=99)
    assert len(refused(sample={"speakers": 99}, folds=101)) == 2


def test_weights_that_cannot_be_had_are_told_where_they_are_still_to_be_applied(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(request: Any, timeout: float) -> None:
        raise OSError(f"no route to {request.full_url}")

    monkeypatch.setattr("stages.preflight.pretrained_files.urlopen", no_network)
    imagenet = {"visual": {"weights": "imagenet"}}
    [found] = refused(encoders=imagenet)
    assert found.startswith(
        f"params.yaml: encoders.visual.name resnet34: not in the cache, and {IMAGENET}"
    )
    assert found.endswith(f"put it at {project / 'torch/hub/checkpoints/resnet34-b627a593.pth'}")
    assert len(refused(encoders=imagenet, frames={"detector": "sfd", "align": True})) == 3
    assert len(refused(encoders=both(weights="imagenet"))) == 2

    # Of a colleague who has pulled the features, or of a queued experiment, on another machine.
    touch(Path("data/features/visual/sample.h5"))
    tree = params(encoders=imagenet)
    lock(frames={"frames": tree["frames"]}, visual_features=of_encoder("visual", tree))
    assert accepted(encoders=imagenet, alpha=0.5)
    assert accepted(encoders=imagenet | {"acoustic": {"seed": 1}})
    assert len(refused(encoders={"visual": {"weights": "imagenet", "name": "resnet18"}})) == 1
    assert len(refused(encoders=both(weights="imagenet"))) == 1
    # Copies of faces have to be encoded as well.
    locked = of_encoder("visual", tree) | {"augmentation": tree["augmentation"]}
    lock(frames={"frames": tree["frames"]}, visual_features=locked)
    assert accepted(encoders=imagenet, alpha=0.5)
    assert len(refused(encoders=imagenet, augmentation={"flip": True})) == 1


def test_what_reads_and_hears_texts_is_told_where_it_is_still_to_be_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_folder()
    absent = WEIGHTS._replace(module="no_such_package")
    monkeypatch.setattr(huggingface_text, "WEIGHTS", absent)
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)
    reads = {"allow_random_weights": True, "linguistic": {"name": huggingface_text.NAME}}
    [found] = refused(**of_folder(encoders=reads))
    start = f"params.yaml: encoders.linguistic.name {huggingface_text.NAME}: the weights are in"
    assert found.startswith(start) and found.endswith(f"{WEIGHTS.package} (83.5 MB)")
    deep = reads | {"linguistic": {"name": huggingface_text.NAME, "layer": 7}}
    [found] = refused(**of_folder(encoders=deep))
    assert found.startswith("params.yaml: encoders.linguistic.layer: 7 is no layer of ")
    monkeypatch.setattr(by_name, "find_spec", lambda name: None)
    [found] = refused(**of_folder(encoders=reads))
    assert found.startswith("params.yaml: encoders.linguistic.name: all-MiniLM-L6-v2 needs trans")

    def no_module(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(transcription, "import_module", no_module)
    [found] = refused(**of_folder(text="asr"))
    assert found.startswith("params.yaml: text: asr needs CTranslate2 (")

    touch(Path("data/features/linguistic/folder.h5"))
    tree = params(encoders=reads)
    ran = {"transcripts": {"text": "asr"}, "linguistic_features": of_encoder("linguistic", tree)}
    lock("folder", **ran)
    assert accepted(**of_folder(encoders=reads, text="asr", alpha=0.5))


def test_a_corpus_of_fixed_sentences_is_read_only_where_one_insists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)
    reads = {"linguistic": {"name": "some/model"}}
    [found] = refused(encoders=reads)
    assert found.startswith("params.yaml: encoders.linguistic.name: sample has fixed sentences")
    assert accepted(encoders=reads, allow_text_leak=True)
    write_folder()
    assert accepted(**of_folder(encoders=reads | {"allow_random_weights": True}))


def across(**changes: Any) -> dict[str, Any]:
    """The sample trains, and the corpus `folder` is tested."""
    own = {"corpora": ["sample", "folder"], "test": "folder"}
    return own | {"encoders": {"allow_random_weights": True}} | changes


def test_another_corpus_is_tested_where_it_is_there_and_both_have_emotions() -> None:
    [found] = refused(**across())
    assert found.startswith("data/raw/folder: no such folder")
    write_folder(speakers=1)
    assert accepted(**across(folds=99))
    [found] = refused(test="folder")
    assert found == "params.yaml: test: folder is not in corpora (sample); add it"
    [found] = refused(**across(test="sample"))
    assert found.startswith("params.yaml: test: sample is what trains, too; ")
    [found] = refused(**across(train_share=0))
    assert found == "params.yaml: train_share: 0 is not a number > 0 and <= 1"
    write_folder(video="")
    path = RAW / "folder/utterances.csv"
    lines = path.read_text().splitlines(True)
    path.write_text("".join(line for line in lines if line[:2] == "id" or "fear" in line))
    [found] = refused(**across())
    assert "voices of folder and of acoustic have fear alone in common" in found


def test_the_fixed_sentences_of_the_corpus_tested_count_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)
    write_folder()
    reads = {"linguistic": {"name": "some/model"}, "allow_random_weights": True}
    learned = {"visual": ["folder"], "acoustic": "folder", "test": "sample"}
    [found] = refused(**across(encoders=reads, **learned))
    assert found.startswith("params.yaml: encoders.linguistic.name: sample has fixed sentences")
    assert accepted(**across(encoders=reads, allow_text_leak=True, **learned))


@pytest.mark.parametrize("name", ["bert-base-uncased", "", "a b/c", "all-minilm-l6-v2", "//"])
def test_an_encoder_of_text_that_cannot_be_is_one_line(name: str) -> None:
    [found] = refused(encoders={"linguistic": {"name": name}})
    assert found.startswith(
        f"params.yaml: encoders.linguistic.name: {name!r} is not none, all-Mini"
    )


def test_bf16_that_is_only_emulated_is_refused_where_it_is_still_to_be_applied(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.settings.pick_device", lambda: "cpu")
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    bf16 = {"acoustic": {"precision": "bf16"}}
    [found] = refused(encoders=bf16)
    assert found.startswith("params.yaml: encoders.acoustic.precision: ")
    assert found.endswith("set fp32")
    touch(Path("data/features/acoustic/sample.h5"))
    lock(acoustic_features=of_encoder("acoustic", params(encoders=bf16)))
    assert accepted(encoders=bf16, alpha=0.5)


def of_encoder(modality: str, tree: dict[str, Any]) -> dict[str, Any]:
    """The params of a modality's features, as dvc.lock has them."""
    return {f"encoders.{modality}": tree["encoders"][modality]}


def lock(corpus: str = "sample", /, **stages: dict[str, Any]) -> None:
    """Write dvc.lock with the params that these stages have run with on a corpus."""
    found = {f"{name}@{corpus}": {"params": {"params.yaml": of}} for name, of in stages.items()}
    YAML(typ="safe").dump({"schema": "2.0", "stages": found}, Path("dvc.lock"))


def test_random_weights_are_refused_for_what_a_corpus_has_clips_of() -> None:
    """Who has voices alone need not care for the encoder of faces."""
    write_folder(video="")
    voices = of_folder(visual=[], acoustic_only=True)
    of_voices = {"name": "efficientnet_lite0", "weights": "random"}
    [found] = refused(**voices | {"encoders": {"acoustic": of_voices}})
    assert found.startswith("params.yaml: encoders.acoustic.weights: random weights say nothing")


def test_random_weights_are_refused_of_a_system_for_a_real_corpus_alone() -> None:
    write_folder(video="")
    changes = of_folder(visual=[], acoustic_only=True, system="efficientnet_lite0")
    of_voices = {"name": "efficientnet_lite0", "weights": "imagenet"}
    changes["encoders"] = {"acoustic": of_voices, "allow_random_weights": False}
    [found] = refused(**changes)
    assert found.startswith("params.yaml: finetuned.weights: random weights say nothing about fold")
    assert accepted(**changes | {"finetuned": {"weights": "imagenet"}})
    assert accepted(**changes | {"system": "gm_tcnet"})
    assert accepted(system="efficientnet_lite0")  # on the sample


@pytest.mark.parametrize("classes", [["anger"], ["anger", "joy"], ["fear", "fear"], "anger", []])
def test_classes_that_make_no_task_are_one_line(classes: Any) -> None:
    assert refused(classes=classes) == [
        f"params.yaml: classes: {classes!r} is not all, or a list, without repeats, of two or more "
        "of anger, disgust, fear, happiness, neutral, sadness, surprise"
    ]


def test_a_corpus_of_some_emotions_needs_no_other_classes() -> None:
    write_folder()
    path = RAW / "folder/utterances.csv"
    four = ("anger", "happiness", "neutral", "sadness")
    head, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join(line for line in lines if line.split(",")[2] in four))
    accepted(**of_folder(classes=list(four)))
    plan_lines = refused(**of_folder())
    assert len(plan_lines) == 2 and all("of disgust, fear, surprise; " in x for x in plan_lines)
    assert [line.partition(";")[0] for line in refused(**of_folder(classes=["anger", "fear"]))] == [
        "params.yaml: visual: folder has no faces of fear",
        "params.yaml: acoustic: folder has no voices of fear",
    ]


def test_a_lock_that_cannot_be_read_is_one_line() -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\nstages: 1\n=======\n")
    assert user_error(settings.main).startswith("dvc.lock: cannot be read as YAML: ")


def test_the_plan_goes_by_the_manifests_alone() -> None:
    shutil.rmtree(RAW)
    write_params(Path(), folds=2)
    rows = [row | {"video": "v.mp4", "audio": "a.wav"} for row in utterances("sample")]
    few = [row for row in rows if row["emotion"] in EMOTIONS[:5]]
    write_table(Path("data/manifest/sample.csv"), COLUMNS, few)
    with pytest.raises(plan.UserError) as caught:
        plan.main()
    lacking = caught.value.args[0].splitlines()
    assert [line.partition(" has no ")[2][:6] for line in lacking] == ["faces ", "voices"]
    assert not Path("data/checked/plan.json").exists()
    write_table(Path("data/manifest/sample.csv"), COLUMNS, rows)
    plan.main()
    assert Path("data/checked/plan.json").exists()


def test_the_plan_of_another_corpus_goes_by_the_manifests_of_both() -> None:
    write_params(Path(), **across(folds=99))
    clips = {"video": "v.mp4", "audio": "a.wav"}
    learned = [row | clips for row in utterances("sample", emotions=EMOTIONS[:4])]
    tested = [row | clips for row in utterances("folder", emotions=EMOTIONS[3:])]
    write_table(Path("data/manifest/sample.csv"), COLUMNS, learned)
    write_table(Path("data/manifest/folder.csv"), COLUMNS, tested)
    with pytest.raises(plan.UserError, match="have happiness alone in common"):
        plan.main()
    tested = [row | clips for row in utterances("folder", emotions=EMOTIONS[2:])]
    write_table(Path("data/manifest/folder.csv"), COLUMNS, tested)
    plan.main()
