"""MSP-IMPROV (Busso et al. 2017, doi 10.1109/TAFFC.2016.2515617): 12 actors in six sessions.

    Evalution.txt (so spelt)                                         the emotions of the turns
    Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav             the voice of a turn, 48 kHz
    Video/session1/S01A/P/UTD-IMPROV-S01A-F01-P-FM01.avi             its face

Names are target sentence and emotion, the actor whose scene it is and the session, the kind of turn
(R target sentence read, T improvised, S other turns of the scene, P talk between takes), and who
speaks to whom with a number. Files may lie in any folder. Names may begin with MSP or UTD alike.

The speaker is taken by the first letter of the last field, of the two people of the session: other
readers take the actor whose scene it is, and what the publisher means could not be looked up.
Protocol `session` does not depend on it.

Four emotions are rated: anger, happiness, sadness and neutral, 7,798 of the 8,438 turns. The others
(O) and those on which the raters do not agree (X) are left out by rule. Target sentences (R, T) are
the same 20 for all; what else is said is not written down.
"""

import re
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from stages.corpora.annotations import check_repeat, one_version, read_text
from stages.corpora.utterance import SEX, Listing, Utterance, first_five
from stages.corpora.walk import COPY, files_below, media_kind
from stages.runtime.errors import UserError

NAME = re.compile(
    r"(MSP|UTD)-IMPROV-(?P<turn>(?P<scene>S(?P<sentence>[0-9]{2})[AHSN]-[FM](?P<session>0[1-6]))"
    r"-(?P<kind>[RSTP])-(?P<speaker>[FM])[FM][0-9]{2,3})",
    re.ASCII | re.IGNORECASE,
)
# Of a turn; the lines after it, of its raters, begin otherwise.
LABEL = re.compile(rf"{NAME.pattern}\.avi\s*;\s*(?P<code>[^;\s]*)\s*;.*", re.ASCII | re.IGNORECASE)
EMOTION = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}
LEFT_OUT = {"O": "is another emotion", "X": "raters do not agree"}
OTHER = "other or none"
TARGET = ("R", "T")
OFFICIAL = {
    ("", "anger"): 792,
    ("", "happiness"): 2644,
    ("", "neutral"): 3477,
    ("", "sadness"): 885,
    ("", OTHER): 640,
}
TABLES = ("evalution.txt", "evaluation.txt")
LICENCE = "for research, by an agreement; not to be passed on (granted by UT Dallas)"
FIXED_SENTENCES = False
OBTAIN = (
    "ask for it at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html (it "
    "cannot be downloaded without), then put or link the folder with Evalution.txt and Audio there"
)
NAMES = "name them like MSP-IMPROV-S01A-F01-P-FM01.wav, with Evalution.txt anywhere beside them"


def read(root: Path, corpus: str) -> Listing:
    """List the turns of Evalution.txt below `root`, with what there is of their clips.

    The voice comes from the file of sound, else from the video.

    Raises:
        UserError: that file cannot be read, has a turn twice or an emotion that is not known, or
            is there in two versions.
    """
    listing = Listing(official=OFFICIAL)
    files = list(files_below(root))
    clips: dict[str, dict[str, Path]] = {}
    copies = []
    for path in files:
        kind, match = media_kind(path), NAME.fullmatch(COPY.sub("", path.stem))
        if kind and match:
            turn = match["turn"].upper()
            first = clips.setdefault(turn, {}).setdefault(kind, path)
            if first != path:
                copies.append((turn, kind, path, first))
    table = one_version([path for path in files if path.name.lower() in TABLES], root)
    codes = read_codes(table) if table else {}
    for turn, code in codes.items():
        item = _utterance(corpus, turn, code, clips.get(turn, {}), root)
        if code in LEFT_OUT:
            listing.excluded.append((item, "emotion_excluded", f"{code}: {LEFT_OUT[code]}"))
        elif item.audio:
            listing.utterances.append(item)
        else:
            listing.missing.append((item, f"no MSP-IMPROV-{turn}.wav"))
    for turn, kind, path, first in copies:
        if turn in codes:
            item = _utterance(corpus, turn, codes[turn], {kind: path}, root)
            listing.exclude_copy(item, path, first, root)
    faceless = [item.id for item in listing.utterances if not item.video]
    if faceless and len(faceless) == len(listing.utterances):
        listing.notes.append(f"no faces: there are no videos (.avi) below {root}")
    elif faceless:
        note = f"no face, {len(faceless)} of {len(listing.utterances)} turns: "
        listing.notes.append(note + first_five(faceless))
    return listing


def read_codes(path: Path) -> dict[str, str]:
    """The letter of the emotion of each turn, such as S01A-F01-P-FM01.

    Raises:
        UserError: see `read`.
    """
    codes: dict[str, str] = {}
    lines: dict[Hashable, int] = {}
    text, _ = read_text(path)
    for line, content in enumerate(text.splitlines(), start=1):
        if match := LABEL.fullmatch(content.strip()):
            turn, code = match["turn"].upper(), match["code"].upper()
            if code not in EMOTION | LEFT_OUT:
                known = ", ".join(EMOTION | LEFT_OUT)
                raise UserError(
                    f"{path}: line {line}: emotion {match['code']!r} is not one of {known}; unpack "
                    "the file anew"
                )
            check_repeat(lines, turn, turn, path, line)
            codes[turn] = code
    return codes


def _utterance(corpus: str, turn: str, code: str, files: dict[str, Path], root: Path) -> Utterance:
    match = NAME.fullmatch(f"MSP-IMPROV-{turn}")
    assert match
    video = files.get("video")
    audio = files.get("audio") or video
    item = Utterance(
        id=f"{corpus}/{turn}",
        speaker=f"mspimprov/{match['speaker']}{match['session']}",
        sex=SEX[match["speaker"]],
        emotion=EMOTION.get(code, OTHER),
        sentence=match["sentence"] if match["kind"] in TARGET else turn,
        video=video.relative_to(root).as_posix() if video else "",
        audio=audio.relative_to(root).as_posix() if audio else "",
        session=f"mspimprov/session{int(match['session'])}",
    )
    return item if match["kind"] == "R" else replace(item, dialogue=f"mspimprov/{match['scene']}")
