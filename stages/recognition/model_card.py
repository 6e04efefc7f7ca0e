"""The card of a model: what it is for and not for, data, results, limits.

M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.scoring.summary import cautions, circumstances, headline

TEMPLATE = Path(__file__).with_name("card.md")


def render(contents: Mapping[str, Any]) -> str:
    """The card of a bundle as Markdown.

    Args:
        contents: of the bundle (`stages.recognition.bundle.Contents`).
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=False,  # noqa: S701 - Markdown of names that params.yaml allows, and numbers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result = contents["result"]
    return environment.get_template(TEMPLATE.name).render(
        contents,
        cautions=cautions(result),
        circumstances=circumstances(result),
        headline=headline(result),
    )
