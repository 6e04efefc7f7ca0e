"""Which samples there are to be split: utterances with features, each recording once."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scipy.cluster.hierarchy import DisjointSet

from stages.corpora.emotions import EMOTIONS
from stages.corpora.spelling import check_spellings, near_equal
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_table
from stages.runtime.errors import UserError
from stages.runtime.paths import features_path, manifest_path
from stages.splits.leaks import find_duplicates
from stages.splits.protocols import (
    KINDS,
    SENTENCE_DISJOINT,
    Mark,
    Rows,
    base_corpus,
    corpus_of,
    marks,
    recording_id,
    sentence_id,
)

HELD_OUT_FIRST = {"test": 0, "dev": 1}
Pairs = list[tuple[str, str]]  # the id of a sample that is kept, and of its copy


class Chosen(NamedTuple):
    """The samples of a modality.

    Attributes:
        rows: of the manifests, with their modality, sorted by id within a corpus.
        copies: every sample that is left out, by the id of the one that it is a copy of.
        contradicting: copies that are labelled differently, which are all left out: their emotions.
        others: what is left out as none of the classes of the task: its emotions.
    """

    rows: Rows
    copies: dict[str, str]
    contradicting: dict[str, str]
    others: dict[str, str]


def choose_samples(
    visual_corpora: list[str],
    acoustic_corpora: list[str],
    protocol: str,
    drop: bool,
    acoustic_only: bool = False,
    classes: Collection[str] = EMOTIONS,
    test: str = "",
) -> dict[str, Chosen]:
    """The visual and the acoustic samples of some emotions, each recording once.

    Args:
        visual_corpora: whose visual samples are taken.
        acoustic_corpora: whose acoustic samples are taken.
        test: the one of them that is tested, "" where there is one; of copies its own are kept.
        drop: leave out further copies of a recording, rather than refuse them.
        acoustic_only: there need be no visual samples.

    Returns:
        By modality; the rows have a column `carried` (`stages.splits.protocols.marks`).

    Raises:
        UserError: a corpus has no features of a modality, one name has two spellings, or there are
            copies and `drop` is false, or there is no voice of these emotions.
    """
    need_visual = not acoustic_only
    rows = {
        "visual": [
            row for corpus in visual_corpora for row in usable_rows(corpus, "visual", need_visual)
        ],
        "acoustic": usable_voices(acoustic_corpora),
    }
    corpora = sorted({*visual_corpora, *acoustic_corpora})
    known = [row for corpus in corpora for row in read_manifest(corpus)]
    equal = {
        modality: find_duplicates(fingerprints(held_out_first(found, test), modality))
        for modality, found in rows.items()
    }
    return choose(rows, known, equal, protocol, drop, classes, test)


def choose(
    rows: Mapping[str, Rows],
    known: Rows,
    equal: Mapping[str, Pairs],
    protocol: str,
    drop: bool,
    classes: Collection[str] = EMOTIONS,
    test: str = "",
) -> dict[str, Chosen]:
    """What `choose_samples` does, without a look into features.

    Args:
        rows: by modality.
        known: the rows of all manifests.
        equal: the samples, by modality, whose features are the same to the bit.
    """
    of_task = {
        modality: of_classes(found, equal[modality], classes) for modality, found in rows.items()
    }
    everything = rows
    rows = {modality: found for modality, (found, _) in of_task.items()}
    equal = {modality: pairs for modality, (_, pairs) in of_task.items()}
    if not rows["acoustic"]:
        raise UserError(
            f"params.yaml: classes: no voice is of {', '.join(classes)}; choose other classes, or "
            "another acoustic corpus"
        )
    check_names(rows["visual"] + rows["acoustic"], protocol)
    chosen = {
        modality: without_copies(found, equal[modality], modality, protocol, drop, test)
        for modality, found in rows.items()
    }
    carried = carried_marks(known, equal["visual"], equal["acoustic"])
    return {
        modality: found._replace(
            rows=with_carried(found.rows, carried[modality]),
            others={
                row["id"]: row["emotion"]
                for row in everything[modality]
                if row["emotion"] not in classes and row["id"] not in found.contradicting
            },
        )
        for modality, found in chosen.items()
    }


def of_classes(rows: Rows, equal: Pairs, classes: Collection[str]) -> tuple[Rows, Pairs]:
    """The samples of some emotions and the pairs of copies that these are in.

    A copy of one of them that is labelled otherwise stays among them, for `without_copies` to see
    that nobody can say which label is right; that leaves none of other emotions.

    Args:
        equal: copies among the rows.
    """
    inside = {row["id"] for row in rows if row["emotion"] in classes}
    pairs = [pair for pair in equal if not inside.isdisjoint(pair)]
    considered = inside.union(*pairs)
    return [row for row in rows if row["id"] in considered], pairs


def shared_classes(voices: Rows, test: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The emotions of a task: of these the ones that both have, who trains and who is tested.

    Args:
        test: the corpus that is tested, "" where it is the one that trains.

    Raises:
        UserError: they have fewer than two in common.
    """
    if not test:
        return tuple(classes)
    learned, tested = (
        {row["emotion"] for row in voices if (corpus_of(row["id"]) == test) == is_tested}
        for is_tested in (False, True)
    )
    shared = tuple(emotion for emotion in classes if emotion in learned & tested)
    if len(shared) < 2:
        raise UserError(
            f"params.yaml: test: of the classes {', '.join(classes)} voices of {test} and of "
            f"acoustic have {shared[0] if shared else 'none'}{' alone' * len(shared)} in common; "
            "choose other corpora or classes"
        )
    return shared


def held_out_first(rows: Rows, test: str = "") -> Rows:
    """The rows of the corpus `test`, then of the official test part, the dev part and the rest."""
    return sorted(
        rows,
        key=lambda row: (corpus_of(row["id"]) != test, HELD_OUT_FIRST.get(row["split"], 2)),
    )


def usable_voices(corpora: list[str]) -> Rows:
    """The rows of `usable_rows` of the voices of some corpora."""
    return [row for corpus in corpora for row in usable_rows(corpus, "acoustic")]


def usable_rows(corpus: str, modality: str, needed: bool = True) -> Rows:
    """Manifest rows of a corpus that have features in a modality, sorted by id.

    Raises:
        UserError: there is none, and some are needed.
    """
    path = features_path(modality, corpus)
    with open_arrays(path, f"{modality} features") as features:
        ids = set(decode_ids(features["ids"][...]))
    rows = [row for row in read_manifest(corpus) if row["id"] in ids]
    if needed and not rows:
        raise UserError(f"{path}: no {modality} features; drop it from params.yaml")
    return [{"modality": modality, **row} for row in rows]


def read_manifest(corpus: str) -> Rows:
    """The rows of a corpus' manifest.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    columns = ["id", "speaker", "emotion", "sentence", "split", "video", "audio", "overlaps"]
    columns += ["session", "dialogue", "turn"]
    return read_table(manifest_path(corpus), columns)


def fingerprints(rows: Rows, modality: str) -> dict[str, bytes]:
    """SHA-256 of the features of each utterance."""
    of_corpus: dict[str, dict[str, bytes]] = {}
    for corpus in {row["id"].split("/")[0] for row in rows}:
        with open_arrays(features_path(modality, corpus), f"{modality} features") as features:
            ids, values = decode_ids(features["ids"][...]), features["pooled"][...]
        of_corpus[corpus] = {
            name: hashlib.sha256(value.tobytes()).digest() for name, value in zip(ids, values)
        }
    return {row["id"]: of_corpus[row["id"].split("/")[0]][row["id"]] for row in rows}


def without_copies(
    rows: Rows, equal: Pairs, modality: str, protocol: str, drop: bool, test: str = ""
) -> Chosen:
    """The rows without further copies of a recording.

    One recording under two ids could be tested and trained on. Copies that are labelled differently
    are all left out, as nobody can say which label is right.

    Raises:
        UserError: there are copies, and `drop` is false.
    """
    emotion_of = {row["id"]: row["emotion"] for row in rows}
    unlike = [pair for pair in equal if emotion_of[pair[0]] != emotion_of[pair[1]]]
    # The official parts of a corpus that is tested as a whole do not matter.
    parted = [row for row in rows if corpus_of(row["id"]) != test]
    overlapping = overlaps_across(held_out_first(parted)) if protocol == "official" else []
    if (equal or overlapping) and not drop:
        kept, copy = [*unlike, *equal, *overlapping][0]
        relation = "is the same recording as" if equal else "overlaps, in another official split,"
        said = f", but is labelled {emotion_of[copy]} and not {emotion_of[kept]}" if unlike else ""
        raise UserError(
            f"{manifest_path(copy.split('/')[0])}: {copy} {relation} {kept}{said} (such "
            f"{modality} pairs: {len({*equal, *overlapping})}, labelled differently: "
            f"{len(unlike)}); fix the corpus, or set duplicates: drop in params.yaml to keep one "
            "of each, and none of those that are labelled differently"
        )
    copies = dict(pair[::-1] for pair in [*overlapping, *equal])
    disputed = {kept for kept, _ in unlike}
    contradicting = {
        name: emotion_of[name] for pair in equal if pair[0] in disputed for name in pair
    }
    gone = copies.keys() | contradicting.keys()
    return Chosen([row for row in rows if row["id"] not in gone], copies, contradicting, {})


def overlaps_across(rows: Rows) -> Pairs:
    """Utterances that overlap one of another official split, which stands before them in `rows`."""
    split_of: dict[str, str] = {}  # of those kept
    pairs = []
    for row in rows:
        others = row["overlaps"].split("\t")
        across = [name for name in others if split_of.get(name, row["split"]) != row["split"]]
        if across:
            pairs.append((across[0], row["id"]))
        else:
            split_of[row["id"]] = row["split"]
    return pairs


def check_names(rows: Rows, protocol: str) -> None:
    """Refuse what would be kept apart for its spelling alone.

    Raises:
        UserError: two speakers, two sessions, two recordings of variants of a corpus or, where the
            protocol keeps them apart, two sentences have nearly the same name.
    """
    for kind in ("speaker", "session"):
        check_spellings((row[kind] for row in rows), f"{kind}s", "data/manifest")
    if protocol in SENTENCE_DISJOINT:
        check_spellings(map(sentence_id, rows), "sentences", "data/manifest")
    corpora: dict[str, set[str]] = {}
    for row in rows:
        corpora.setdefault(recording_id(row["id"]), set()).add(row["id"].split("/")[0])
    for pair in near_equal(corpora):
        if corpora[pair[0]].isdisjoint(corpora[pair[1]]):  # within a corpus an id may be any
            check_spellings(pair, "ids", "data/manifest")


def carried_marks(known: Rows, visual: Pairs, acoustic: Pairs) -> dict[str, dict[str, set[Mark]]]:
    """The marks of the samples of each modality by id, their own and those of their copies.

    A copy is the same recording of the same speaker, whatever it is called. Equal visual samples do
    not make equal acoustic ones; but equal acoustic samples are of one recording, face and all.

    Args:
        known: rows of the manifests.
        visual, acoustic: the copies in each modality.
    """
    own: dict[str, set[Mark]] = {}
    parts: dict[str, set[Mark]] = {}
    for row in known:
        recording = recording_id(row["id"])
        others = filter(None, row["overlaps"].split("\t"))
        pairs = (" & ".join(sorted((recording, recording_id(other)))) for other in others)
        own[row["id"]] = {*marks(row, KINDS), *(("overlap", pair) for pair in pairs)}
        if row["split"] in HELD_OUT_FIRST:
            parts.setdefault(recording, set()).add(("part", row["split"]))
    of_acoustic = _merged(own, acoustic)
    copied: dict[str, set[Mark]] = {}
    for name in (name for pair in acoustic for name in pair):
        copied.setdefault(recording_id(name), set()).update(of_acoustic[name])
    for name, found in own.items():
        own[name] = found.union(*(of.get(recording_id(name), ()) for of in (parts, copied)))
    of_visual = _merged(own, visual)
    # Names of one corpus are people of their own even with one picture; those of two need not be.
    for name, found in of_acoustic.items():
        named = (mark for mark in of_visual[name] if mark[0] in ("session", "speaker", "sentence"))
        of_acoustic[name] = found.union(
            mark for mark in named if base_corpus(mark[1]) != base_corpus(name)
        )
    return {"visual": of_visual, "acoustic": of_acoustic}


def with_carried(rows: Rows, found: Mapping[str, set[Mark]]) -> Rows:
    """The rows with a column `carried`: their marks but for those that stand in other columns."""
    others = [sorted(found[row["id"]].difference(marks(row, KINDS))) for row in rows]
    return [row | {"carried": "\t".join(map("=".join, more))} for row, more in zip(rows, others)]


def _merged(own: Mapping[str, set[Mark]], pairs: Iterable[tuple[str, str]]) -> dict[str, set[Mark]]:
    """What each and its copies have, by id."""
    groups = DisjointSet(own)
    for kept, copy in pairs:
        groups.merge(kept, copy)
    merged: dict[str, set[Mark]] = {}
    for group in groups.subsets():
        merged |= dict.fromkeys(group, set().union(*(own[name] for name in group)))
    return merged


def shared_settings(modality: str, corpora: list[str]) -> dict[str, Any]:
    """The settings that the features of all corpora share in a modality.

    Raises:
        UserError: they were made with different settings.
    """
    settings = {}
    for corpus in corpora:
        with open_arrays(features_path(modality, corpus), f"{modality} features") as features:
            settings[corpus] = read_settings(features)
    first = settings[corpora[0]]
    for corpus, other in settings.items():
        if other != first:
            raise UserError(
                f"{features_path(modality, corpus)}: made with {other}, {corpora[0]} with {first}; "
                "dvc repro"
            )
    return first
