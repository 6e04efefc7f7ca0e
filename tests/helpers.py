"""What tests of all parts share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.runtime.errors import UserError

ROOT = Path(__file__).parent.parent  # the project


def user_error(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The message of the UserError that a call ends in, which is one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message
