"""The import rule of stages/: scripts and commands import rooms, and rooms never import those."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("stages/**/*.py"))
ROOMS = {path.parent.name for path in ROOT.glob("stages/*/*.py")} - {"commands"}
SCRIPTS = {path.stem for path in ROOT.glob("stages/*.py")}
# What serves every room knows none that is about clips or models.
SERVING = {"runtime", "io"}
OF_SUBSTANCE = {"fdan", "systems", "corpora", "media", "encoders", "extraction"}


def imported(path: Path) -> set[str]:
    """What a file imports of stages/, wherever the import stands: "media.faces", "media", ..."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("stages.") for name in names if name.startswith("stages.")}


def test_scripts_and_commands_import_rooms_and_nothing_imports_a_script() -> None:
    for path in FILES:
        room = path.relative_to(ROOT / "stages").parts[0]
        found = {name.split(".")[0] for name in imported(path)}
        assert not found & SCRIPTS, f"{path} imports a stage script"
        allowed = ROOMS | {"commands"} if room == "commands" else ROOMS
        assert found <= allowed, f"{path} imports {found - allowed}"
        if room in SERVING:
            assert not found & OF_SUBSTANCE, f"{path} imports {found & OF_SUBSTANCE}"


def test_no_two_modules_have_one_name() -> None:
    counts = Counter(path.stem for path in FILES)
    assert [name for name, count in counts.items() if count > 1] == []
    shadowed = set(counts) & {"statistics", "random", "typing", "logging", "queue", "select"}
    assert not shadowed
