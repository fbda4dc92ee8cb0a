"""The card of a published model: what it is, what it was trained on and under which licences, what it measures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption
from vividface_core.io.text import read_text
from vividface_core.restorers.registry import System, resolve

FRONT = """---
license: {licence}
library_name: vividface
pipeline_tag: video-to-video
tags: [{tags}]
---
"""


@dataclass(frozen=True)
class ModelCard:
    """What a person has to say about a model; everything else is read off it.

    Attributes:
        name: of the model; empty: that of the run.
        licence: SPDX identifier of the weights.
        description: a few sentences, Markdown.
        training_data: ``{"package" or "name": …, "licence": …}`` for each source.
        held_out: what was never trained on.
        limits: known weaknesses.
        metrics: ``{"name": value}``, measured on what ``protocol`` says.
    """

    name: str = ""
    licence: str = "apache-2.0"
    description: str = ""
    training_data: list[dict[str, str]] = field(default_factory=list)
    held_out: str = ""
    limits: str = ""
    protocol: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    edition: int = 1

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """From JSON.

        Raises:
            InvalidOption: missing, no JSON, or an unknown entry.
        """
        try:
            return cls(**json.loads(read_text(Path(path))))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidOption(f"{path} is no model card ({error})") from error

    def entries(self) -> dict[str, Any]:
        """What goes into ``vividface.json``: everything that was said."""
        return {key: value for key, value in asdict(self).items() if value}

    def text(self, meta: dict[str, Any], system: System) -> str:
        """``README.md`` for the Hub, from ``vividface.json``'s entries ``meta``."""
        tags = ", ".join(("video", "face-restoration", *system.tags))
        parts = [FRONT.format(licence=self.licence, tags=tags), f"# {meta.get('name', 'VividFace checkpoint')}\n"]
        if self.description:
            parts.append(self.description + "\n")
        parts += [_use(meta, system), _configuration(meta.get("training") or {})]
        parts.append("## Training data\n\n" + (_bullets(self.training_data) or "Not stated.\n"))
        for title, text in (("Held out", self.held_out), ("Known limits", self.limits)):
            if text:
                parts.append(f"## {title}\n\n{text}\n")
        if self.metrics:
            rows = "".join(f"| {name} | {value:.4g} |\n" for name, value in self.metrics.items())
            parts.append(f"## Measured\n\n{self.protocol}\n\n| | |\n|---|---|\n{rows}")
        return "\n".join(parts)


def _use(meta: dict[str, Any], system: System) -> str:
    if system.describe:
        return resolve(system.describe)(meta)
    frames, side = (meta.get(key, getattr(system, key)) for key in ("native_frames", "native_size"))
    return (
        f"A model of the system `{system.id}`, made for clips of {frames} frames at {side}×{side}.\n\n"
        "Load it with `vividface restore IN -o OUT --model THIS-FOLDER`, or with the node *Load VividFace Model*.\n"
    )


def _configuration(training: dict[str, Any]) -> str:
    """Loss, optimizer and data as they were configured."""
    tables = {name: training[name] for name in ("data", "loss", "optimizer") if name in training}
    if not tables:
        return ""
    lines = [
        f"- {name}: " + ", ".join(f"{key} {value}" for key, value in table.items()) for name, table in tables.items()
    ]
    return "## Configuration\n\n" + "\n".join(lines) + "\n"


def _bullets(sources: list[dict[str, str]]) -> str:
    names = (
        (source.get("package") or source.get("name", "?"), source.get("licence", "licence not stated"))
        for source in sources
    )
    return "".join(f"- {name} ({licence})\n" for name, licence in names)
