"""What tests of all parts share."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.runtime.errors import UserError

ROOT = Path(__file__).parent.parent  # the project
_PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def params(**changes: Any) -> dict[str, Any]:
    """params.yaml as committed, with `changes`; a mapping changes some keys of its section."""
    return changed(copy.deepcopy(_PARAMS), changes)


def changed(tree: Any, changes: dict[str, Any]) -> Any:
    """Change a tree of params in place; a mapping changes some keys of its section."""
    for key, value in changes.items():
        tree[key] = changed(tree[key], value) if isinstance(value, dict) else value
    return tree


def both(allow_random_weights: bool = False, **changes: Any) -> dict[str, Any]:
    """Changes to `encoders` of params.yaml, the same to the encoder of each modality."""
    shared = {"visual": changes, "acoustic": changes}
    return {"allow_random_weights": allow_random_weights, **shared}


def write_params(folder: Path, **changes: Any) -> None:
    """Write params(**changes) to params.yaml in `folder`."""
    YAML(typ="safe").dump(params(**changes), folder / "params.yaml")


def user_error(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The message of the UserError that a call ends in, which is one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


def wait_for(condition: Callable[[], Any], seconds: float = 60, pause: float = 0.05) -> None:
    """Wait until `condition()` holds; the test fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(pause)


def distinct_clips(content: bytes, folder: Path, n: int) -> None:
    """Write `content`, an MP4 file, to 0.mp4, 1.mp4, ..., of which no two are the same."""
    for i in range(n):
        empty_box = b"\0\0\0\x18free" + f"{i:016}".encode()
        (folder / f"{i}.mp4").write_bytes(content + empty_box)
