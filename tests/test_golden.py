"""The net under dvc.yaml, which leaves stages/runtime and stages/io out of its deps.

A change there that changes an output fails here. What is the same to the byte on every machine is
held by its SHA-256. Faces, spectrograms, features and all that is trained depend in their last
digits on the kernels that a CPU gets from its libraries: those are held to a tolerance, and metrics
to 1e-6 where the CPU is of the kind that they were recorded on.

Where a change of outputs is meant, record them anew and commit what changes:

    python -m tests.test_golden
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import file_sha256, read_json, write_json, write_table
from tests.helpers import both, changed

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_suffix(".json")
FORMAT = ROOT / "stages/io/FORMAT"
SAMPLE = {"speakers": 3, "sentences": 2, "seed": 0}
EXACT = ["data/manifest/*.csv", "data/skipped/*.csv", "data/split.csv"]
EXACT_ARRAYS = ("ids", "times", "offsets")
METRICS = ("test", "details", "train", "best_test_epoch")


def bytes_of_formats(folder: Path) -> str:
    """SHA-256 over a file of each format that stages/io writes."""
    with write_arrays(folder / "a.h5", "kind", {"b": 1, "a": [0.5, "é"]}, 0) as arrays:
        arrays.append("ids", encode_ids(["corpus/1", "corpus/é"]))
        arrays.append("values", np.arange(6, dtype=np.float32).reshape(2, 3))
    rows = [{"id": 'a,"b"', "text": "é\r\n"}, {"id": "", "text": "1e-05"}]
    write_table(folder / "b.csv", ["id", "text"], rows)
    write_json(folder / "c.json", {"b": [1, 2.5, None], "a": {"é": True}})
    digests = [file_sha256(folder / name) for name in ("a.h5", "b.csv", "c.json")]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def run_stages(folder: Path) -> None:
    """Every command of dvc.yaml on a small sample, in their order there."""
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params.update(sample=SAMPLE, folds=3, seeds=1, epochs=10, validation=0.2, best_test_epoch=True)
    changed(params, {"encoders": both(name="squeezenet1_1")})
    params["frames"]["size"] = 64
    yaml.dump(params, folder / "params.yaml")
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FDAN_CACHE": str(folder / "cache")}
    for stage in stages.values():
        words = stage["cmd"].replace("${item}", "--corpus sample").split()[1:]
        subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=True)


def outputs(folder: Path) -> dict[str, Any]:
    """What is held of the outputs: "exact", "arrays" and "metrics"."""
    exact: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for path in sorted(path for pattern in EXACT for path in folder.glob(pattern)):
        exact[str(path.relative_to(folder))] = file_sha256(path)
    for path in sorted(folder.glob("data/**/sample.h5")):
        with h5py.File(path) as file:
            for name, data in file.items():
                key = f"{path.parent.relative_to(folder / 'data')}.{name}"
                exact[key] = [list(data.shape), str(data.dtype)]
                if name in EXACT_ARRAYS:
                    exact[key].append(hashlib.sha256(data[...].tobytes()).hexdigest())
                else:
                    arrays[key] = [float(data[...].mean()), float(data[...].std())]
    exact["split"] = read_json(folder / "data/split.json")
    del exact["split"]["features_sha256"]  # of what has a tolerance
    metrics = {name: read_json(folder / f"metrics/{name}.json") for name in METRICS}
    return {"exact": exact, "arrays": arrays, "metrics": metrics}


def close(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether nested content is equal, its numbers up to a share of them or of 1."""
    if isinstance(expected, dict) and isinstance(found, dict):
        same = found.keys() == expected.keys()
        return same and all(close(found[key], expected[key], tolerance) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(
            close(*pair, tolerance) for pair in zip(found, expected)
        )
    if isinstance(expected, float):
        return abs(found - expected) <= tolerance * max(1, abs(expected))
    return found == expected


def test_formats_are_the_ones_that_are_named(tmp_path: Path) -> None:
    named = FORMAT.read_text(encoding="utf-8").split("\n")[0]
    found = bytes_of_formats(tmp_path)
    assert found == named, "outputs have other bytes; if meant: python -m tests.test_golden"


@pytest.mark.long
def test_outputs_are_the_recorded_ones(tmp_path: Path) -> None:
    golden = read_json(GOLDEN)
    run_stages(tmp_path)
    found = outputs(tmp_path)
    assert found["exact"] == golden["exact"]
    same_kernels = torch.backends.cpu.get_cpu_capability() == golden["cpu"]
    for part, tolerance in {"arrays": 1e-3, "metrics": 1e-6 if same_kernels else 0.1}.items():
        for key, expected in golden[part].items():
            given = found[part][key]
            assert close(given, expected, tolerance), f"{key}: {given} is not {expected}"


def record(folder: Path) -> None:
    """Write down the outputs as they are now."""
    text = f"""{bytes_of_formats(folder)}

The version of the file formats that stages/io writes, as the SHA-256 of a file of each. Every stage
that writes by stages/io has this file among its deps and runs again when it changes; it changes by
python -m tests.test_golden.
"""
    FORMAT.write_text(text, encoding="utf-8")
    run_stages(folder)
    found = {"cpu": torch.backends.cpu.get_cpu_capability(), **outputs(folder)}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        record(Path(temporary))
