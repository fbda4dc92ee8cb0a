"""Pages out of Jinja2's templates, which lie as files beside the code that fills them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vividface_core.errors import MissingDependency, first_line


def render(template: Path, **values: Any) -> str:
    """The text of a template; every value is escaped for HTML, unless it is marked as safe there.

    Raises:
        MissingDependency: Jinja2 is absent or broken.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"Pages need Jinja2, which does not import here ({first_line(error)}). Install it with: pip install -U "
            "jinja2"
        ) from error
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(**values)
