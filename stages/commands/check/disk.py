"""The room that the extraction of a corpus takes."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.commands.check.clips import Clips
from stages.commands.check.findings import ERROR, OK, Finding, amount
from stages.encoders.face_copies import face_copies
from stages.extraction.clip_cache import cache_folder
from stages.io.files import SPARE_BYTES
from stages.media.augmentation import voice_augmentation
from stages.media.crops import CROPS
from stages.runtime.paths import FEATURES, FRAMES, MELS
from stages.runtime.space import features_bytes, frames_bytes, mels_bytes


def space_findings(clips: Clips, params: Mapping[str, Any]) -> Iterator[Finding]:
    """What the stages write on each disk, against what is free there."""
    frames, mels, augmentation = (params[key] for key in ("frames", "mels", "augmentation"))
    faces, heard = clips.usable("video"), clips.usable("audio")
    seconds = sum(min(value, mels["max_seconds"]) for value in heard.values())
    voices = 1 + voice_augmentation(augmentation).get("copies", 0)  # of each clip
    pictures = CROPS * (1 + face_copies(augmentation))
    made = {
        FRAMES: frames_bytes(CROPS * len(faces), frames["size"]),
        MELS: voices * mels_bytes(len(heard), seconds, mels),
        FEATURES: features_bytes(pictures * len(faces) + voices * len(heard)),
    }
    kept = made[FRAMES] + made[MELS]
    needs = {**made, Path(".dvc/cache"): sum(made.values()), cache_folder(): kept}
    disks: dict[int, list[Path]] = {}
    for path in needs:
        disks.setdefault(os.stat(existing(path)).st_dev, []).append(path)
    for paths in disks.values():
        free = shutil.disk_usage(existing(paths[0])).free
        needed = sum(needs[path] for path in paths)
        text = (
            f"{', '.join(f'{path} {amount(needs[path])}' for path in paths)}: about "
            f"{amount(needed)} in all, {amount(free)} are free on that disk"
        )
        if free < needed + SPARE_BYTES:
            yield Finding(ERROR, f"{text}; make room, or set FDAN_CACHE to a folder elsewhere")
        else:
            yield Finding(OK, text)


def existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in [path, *path.parents] if folder.exists())
