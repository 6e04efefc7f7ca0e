"""dvc.yaml tells the truth: what can change a stage's output is in its deps and params."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.runtime.params import WITHOUT_EFFECT, Params
from stages.systems.named import SYSTEMS

ROOT = Path(__file__).parent.parent
DVC_YAML = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DVC_YAML["stages"]
PLOTS = [item for plot in DVC_YAML.get("plots", []) for item in plot.items()]
FORMAT = "stages/io/FORMAT"


def script_of(stage: str) -> Path:
    """The file behind "python -m stages.<name> ..."."""
    module = STAGES[stage]["cmd"].split()[2]
    return ROOT / f"{module.replace('.', '/')}.py"


def all_imports(script: Path) -> set[Path]:
    """The script and every file of stages/ that it imports, directly or not, wherever."""
    seen: set[Path] = set()
    waiting = {script}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}", *(f"{node.module}.{item.name}" for item in node.names)}
        files = {ROOT / f"{name.replace('.', '/')}.py" for name in names if name[:7] == "stages."}
        waiting |= {file for file in files if file.exists()} - seen
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_what_the_stage_imports_and_nothing_else(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert deps == sorted(set(deps))
    imported = {path.relative_to(ROOT) for path in all_imports(script_of(stage))}
    code = {Path(dep): set() for dep in deps if dep.startswith("stages/") and dep != FORMAT}
    for path in imported:
        holding = [dep for dep in code if path.is_relative_to(dep)]
        assert len(holding) == (path.parts[1] not in ("runtime", "io")), path
        for dep in holding:
            code[dep].add(path)
    assert all(code.values()), f"nothing of it is imported: {code}"
    assert (FORMAT in deps) == any(path.parts[1] == "io" for path in imported)


def params_read(script: Path) -> set[str]:
    """The dotted keys of what a script takes from `params = read_params()`, sections as one.

    A script that takes all of them, by `params.model_dump()`, has those of the whole file.
    """
    text = script.read_text(encoding="utf-8")
    read = set(re.findall(r"\b(?:params|read_params\(\))\.([a-z_]+(?:\.[a-z_]+)*)", text))
    # Params go nowhere whole but to the systems, which read their own there, so that all that is
    # read stands here.
    text, to_systems = re.subn(r"\bsystem\.settings\(params, ", "", text)
    if to_systems:
        systems = (file.read_text(encoding="utf-8") for file in Path("stages/systems").glob("*.py"))
        read |= {key for of in systems for key in re.findall(r"\bparams\.([a-z_]+)", of)}
        read |= {system.section for system in SYSTEMS.values() if system.section}
        read -= {"yaml"}
    assert not re.search(r"\bparams\b(?!\.| = read_params\(\)$|.*import)", text, re.M), script
    if "model_dump" in read:
        return set(Params.model_fields)
    return {key.removesuffix(".model_dump") for key in read - {"yaml"}}


def params_declared(stage: str) -> set[str]:
    """The keys that make a stage run again."""
    listed = STAGES[stage].get("params", [])
    whole = listed == [{"params.yaml": None}]
    return set(Params.model_fields) - WITHOUT_EFFECT if whole else set(listed)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "settings"])
def test_params_are_exactly_those_that_the_stage_reads(stage: str) -> None:
    assert params_declared(stage) == params_read(script_of(stage)) - WITHOUT_EFFECT


def test_settings_are_all_checked_first() -> None:
    """And what the manifests say of them before any clip is decoded."""
    assert STAGES["settings"]["params"] == [{"params.yaml": None}]
    first, second = outputs("settings"), outputs("plan")
    for stage in set(STAGES) - {"settings"}:
        assert first <= stood_on(stage), stage
        if stage not in ("sample", "manifest", "plan"):
            assert second <= stood_on(stage), stage


def stood_on(stage: str) -> set[str]:
    """The deps of a stage and of all that makes them."""
    found = set(STAGES[stage]["deps"])
    for other in set(STAGES) - {stage}:
        if any(Path(out).is_relative_to(dep) for out in outputs(other) for dep in found):
            found |= stood_on(other)
    return found


def test_only_the_script_of_a_stage_reads_params() -> None:
    scripts = {script_of(stage) for stage in STAGES}
    imported = set().union(*map(all_imports, scripts))
    others = imported - scripts - {ROOT / "stages/runtime/params.py"}
    assert others and [path for path in others if "read_params" in path.read_text()] == []


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
