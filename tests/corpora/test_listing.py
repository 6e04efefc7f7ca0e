"""What a corpus folder holds and what of it is not used, for every reader alike."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.corpora.listing import list_corpus
from stages.corpora.registry import READERS, layout_of
from stages.io.files import write_text
from tests.corpora.trees import make
from tests.helpers import user_error

TABLE = "id,speaker,emotion,video,audio\na,anna,fear,,a.wav\n"
MELD = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\nHi,Joey,joy,0,0\n"
AFFECTNET = np.array("3")  # as a string of one letter, like the publisher's
IEMOCAP = "[6.2901 - 8.2357]\tSes01F_impro01_M000\tneu\t[2.5000, 2.5000, 2.5000]\n"
# A clip of each corpus, and the tables that it needs.
SMALL = {
    "affectnet": ("train_set/images/0.jpg", {"train_set/annotations/0_exp.npy": AFFECTNET}),
    "ck": (
        "cohn-kanade-images/S010/002/S010_002_00000014.png",
        {"Emotion/S010/002/S010_002_00000014_emotion.txt": "   1.0000000e+00\n"},
    ),
    "cremad": ("AudioWAV/1001_DFA_ANG_XX.wav", {}),
    "emodb": ("wav/03a01Wa.wav", {}),
    "enterface": ("subject 1/anger/sentence 1/s1_an_1.avi", {}),
    "fer2013": ("train/angry/Training_3908.jpg", {}),
    "folder": ("a.wav", {"utterances.csv": TABLE}),
    "iemocap": (
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav",
        {"Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": IEMOCAP},
    ),
    "meld": ("dev_splits_complete/dia0_utt0.mp4", {"dev_sent_emo.csv": MELD}),
    "mspimprov": (
        "Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav",
        {"Evalution.txt": "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2; V:3; D:3 ; N:3;\n"},
    ),
    "rafdb": (
        "basic/Image/aligned/train_00001_aligned.jpg",
        {"basic/EmoLabel/list_patition_label.txt": "train_00001.jpg 5\n"},
    ),
    "ravdess": ("Actor_01/03-01-05-01-01-01-01.wav", {}),
    "sample": ("F01/F01_AN_s1.mp4", {}),
    "stills": ("happy/a.jpg", {}),
    "savee": ("AudioData/DC/a01.wav", {}),
    "tess": ("OAF_back_angry.wav", {}),
}


@pytest.fixture(params=READERS)
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with one clip of each corpus, by the name of the corpus."""
    name, tables = SMALL[request.param]
    root = tmp_path / request.param
    make(root, name)
    for table, text in tables.items():
        (root / table).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str):
            write_text(root / table, text)
        else:
            np.save(root / table, text)
    return root


def test_what_is_there_and_not_used_is_counted_and_named(corpus: Path):
    if hasattr(layout_of(corpus.name), "STILLS"):
        make(corpus, "x/take 9.jpg")
    others = [f"x/take {number}.{suffix}" for number, suffix in enumerate(
        ["wav", "WAV", "Flac", "m4a", "mp4", "MOV", "opus"]
    )]  # fmt: skip
    make(
        corpus,
        *others,
        "x/notes.txt",
        "x/cover.png" if not hasattr(layout_of(corpus.name), "STILLS") else "x/a",
        "x/._take.wav",
        ".git/annex/objects/a.wav",
    )
    listing = list_corpus(corpus, corpus.name)
    assert len(listing.utterances) == 1
    count = 7 + hasattr(layout_of(corpus.name), "STILLS")  # pictures beside clips are nobody's
    assert f"there and not used, {count} files: {', '.join(others[:5])}, ..." in listing.notes


def test_where_all_is_used_there_is_nothing_to_tell(corpus: Path):
    notes = list_corpus(corpus, corpus.name).notes
    assert not [note for note in notes if "not used" in note or "not needed" in note]


@pytest.mark.parametrize("name", sorted(set(READERS) - {"folder"}))
def test_files_under_other_names_are_told_with_the_names_expected(name: str, tmp_path: Path):
    make(tmp_path / name, "x/take 1.wav", "x/take 2.WAV")
    message = user_error(list_corpus, tmp_path / name, name)
    assert "holds no usable clip of" in message
    assert "among 2 media files: x/take 1.wav, x/take 2.WAV; " in message
    assert message.endswith(READERS[name].NAMES)


def test_a_corpus_that_is_a_link_is_read(corpus: Path):
    disk = corpus.rename(corpus.with_name("disk"))
    corpus.symlink_to(disk)
    assert len(list_corpus(corpus, corpus.name).utterances) == 1


def test_a_corpus_that_is_a_link_to_nothing_is_named_with_its_target(corpus: Path):
    link = corpus.with_name(f"{corpus.name}_far")
    link.symlink_to("/mnt/absent/corpus")
    assert user_error(list_corpus, link, link.name) == (
        f"{link}: is a link to /mnt/absent/corpus, which is not there; link it anew"
    )


def test_linked_files_are_read_and_linked_folders_refused_by_every_reader(corpus: Path):
    name = SMALL[corpus.name][0]
    clip, disk = corpus / name, corpus.with_name("disk")
    disk.mkdir()
    clip.rename(disk / clip.name)
    clip.symlink_to(disk / clip.name)
    assert len(list_corpus(corpus, corpus.name).utterances) == 1
    (corpus / "linked").symlink_to(disk)
    message = user_error(list_corpus, corpus, corpus.name)
    assert message.startswith(f"{corpus}/linked: is a link to a folder elsewhere")


def test_a_clip_that_git_annex_has_not_fetched_is_refused_by_every_reader(corpus: Path):
    clip = corpus / SMALL[corpus.name][0]
    clip.unlink()
    clip.symlink_to("../.git/annex/objects/zz/MD5E-s9--00.wav")
    message = user_error(list_corpus, corpus, corpus.name)
    assert message.startswith(f"{clip}: is a link to nothing") and "git annex get" in message


@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_on_what_terms_its_corpus_is_used(name: str):
    licence = layout_of(f"{name}_small").LICENCE
    assert licence.isprintable()  # one line
    assert "granted by" in licence or (licence == "" and name in ("folder", "stills"))


def test_the_corpora_of_fixed_sentences_are_known():
    fixed = {name for name, layout in READERS.items() if layout.FIXED_SENTENCES}
    assert fixed == {"cremad", "emodb", "enterface", "ravdess", "sample", "savee", "tess"}


# Of the speaker of its clip in SMALL; "" where the corpus does not tell.
SEX = {
    "emodb": "male",
    "iemocap": "male",
    "meld": "male",
    "mspimprov": "female",
    "ravdess": "male",
    "sample": "female",
    "savee": "male",
    "tess": "female",
}


def test_every_reader_tells_the_sex_where_its_corpus_does(corpus: Path):
    (utterance,) = list_corpus(corpus, corpus.name).utterances
    assert utterance.sex == SEX.get(corpus.name, "")


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True
    )


def test_dvc_sees_changes_where_links_are_followed_and_only_there(tmp_path: Path):
    """The rule of `stages.corpora.walk`, tried with the version of DVC that is installed."""
    deps = {
        "corpus": tmp_path / "disk/a.wav",
        "file": tmp_path / "other/b.wav",
        "folder": tmp_path / "more/c.wav",
    }
    for path in deps.values():
        path.parent.mkdir()
        path.write_text("one")
    project = tmp_path / "project"
    for name in ("raw/file", "raw/folder"):
        (project / name).mkdir(parents=True)
    (project / "raw/corpus").symlink_to(tmp_path / "disk")
    (project / "raw/file/b.wav").symlink_to(deps["file"])
    (project / "raw/folder/linked").symlink_to(tmp_path / "more")
    stages = "".join(
        f"  {name}:\n    cmd: touch {name}.out\n    deps: [raw/{name}]\n    outs: [{name}.out]\n"
        for name in deps
    )
    (project / "dvc.yaml").write_text(f"stages:\n{stages}")
    assert dvc(project, "init", "--no-scm", "-q").returncode == 0
    assert dvc(project, "repro", "-q").returncode == 0
    for path in deps.values():
        path.write_text("another")
    status = dvc(project, "status").stdout
    assert "raw/corpus" in status and "raw/file" in status and "raw/folder" not in status
    (project / "raw/corpus/d.wav").symlink_to("nowhere")
    assert "No such file or directory" in dvc(project, "repro", "corpus").stderr
