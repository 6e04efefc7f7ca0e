"""dvc.yaml tells the truth: what a stage imports is in its deps, what it reads in its params."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.runtime.params import WITHOUT_EFFECT

ROOT = Path(__file__).parent.parent
DVC_YAML = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DVC_YAML["stages"]
PLOTS = [item for plot in DVC_YAML.get("plots", []) for item in plot.items()]


def script_of(stage: str) -> Path:
    """The file behind "python -m stages.<name> ..."."""
    module = STAGES[stage]["cmd"].split()[2]
    return ROOT / f"{module.replace('.', '/')}.py"


def local_imports(path: Path) -> set[Path]:
    """The files of this project that a file imports itself, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("stages")}
    return {file for file in files if file.exists()}


def all_imports(script: Path) -> set[Path]:
    """The script and every file of this project that it imports, directly or not."""
    seen: set[Path] = set()
    waiting = {script}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= local_imports(path) - seen
    return seen


def declared_code(stage: str) -> set[Path]:
    """The Python files in a stage's deps, those of folders included."""
    files: set[Path] = set()
    for dep in STAGES[stage]["deps"]:
        path = ROOT / dep
        if dep.startswith("stages/"):
            files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return files


def params_read(script: Path) -> set[str]:
    """The dotted keys of what a script takes from `params = read_params()`, sections as one."""
    text = script.read_text(encoding="utf-8")
    read = set(re.findall(r"\b(?:params|read_params\(\))\.([a-z_]+(?:\.[a-z_]+)?)", text))
    # Params go nowhere whole, so that all that is read stands here.
    assert not re.search(r"\bparams\b(?!\.| = read_params\(\)$|.*import)", text, re.M), script
    return {key.removesuffix(".model_dump") for key in read - {"yaml"}}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_the_modules_that_the_stage_imports(stage: str) -> None:
    assert declared_code(stage) == all_imports(script_of(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_exactly_those_that_the_stage_reads(stage: str) -> None:
    assert set(STAGES[stage].get("params", [])) == params_read(script_of(stage)) - WITHOUT_EFFECT


def test_only_the_script_of_a_stage_reads_params() -> None:
    scripts = {script_of(stage) for stage in STAGES}
    imported = set().union(*map(all_imports, scripts))
    others = imported - scripts - {ROOT / "stages/runtime/params.py"}
    assert others and [path for path in others if "read_params" in path.read_text()] == []


def test_every_stage_has_its_deps_sorted_and_once() -> None:
    for stage, body in STAGES.items():
        assert body["deps"] == sorted(set(body["deps"])), stage


def outputs(stage: str) -> set[str]:
    """The files that a stage says it writes."""
    kinds = ("outs", "metrics", "plots")
    listed = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in listed}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_in_its_head_every_file_that_it_writes(stage: str) -> None:
    head = ast.get_docstring(ast.parse(script_of(stage).read_text(encoding="utf-8")))
    for path in outputs(stage):
        named = path.replace("${item.corpus}", "<corpus>")
        folder = f"{named.rsplit('/', 1)[0]}/*"
        assert named in head or folder in head, named


@pytest.mark.parametrize("title, plot", PLOTS)
def test_a_plot_shows_an_output_of_a_stage_by_a_template_that_there_is(
    title: str, plot: dict[str, Any]
) -> None:
    written = set().union(*map(outputs, STAGES))
    assert set(plot["y"]) <= written
    assert (ROOT / f".dvc/plots/{plot['template']}.json").exists()
