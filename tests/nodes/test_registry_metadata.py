"""What the registry is told of the pack."""

from __future__ import annotations

import pytest

from tests.paths import REPOSITORY
from vividface_core.io.hub import HubFile
from vividface_core.weights import TABLE

tomllib = pytest.importorskip("tomllib")


def test_the_models_are_those_that_the_download_node_fetches_from_the_hub():
    told = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["comfy"]["Models"]
    files = {
        f"/vividface/{name}/{file.path}": f"https://huggingface.co/{file.repo}/resolve/main/{file.path}"
        for name, entry in TABLE.items()
        if entry.restores
        for file in entry.files
        if isinstance(file, HubFile)
    }
    assert {model["location"]: model["model_url"] for model in told} == files
