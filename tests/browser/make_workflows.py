"""The command that writes the example workflows through ComfyUI's real page.

``python -m tests.browser.make_workflows [NAME ...]`` writes ``example_workflows/TITLE.json`` (for the page),
``workflows/api/NAME.api.json`` (for the HTTP API and the batch client) and ``example_workflows/TITLE.jpg`` (the
template's picture), of all workflows if none is named; with restore_video, the subgraph blueprint too.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.blueprint import FILE as blueprint_file
from tests.browser.blueprint import blueprint
from tests.browser.example_workflows import RESTORE_VIDEO, WORKFLOWS
from tests.browser.graphs import Workflow, lay_out, marked, overlaps, plain, wired
from tests.browser.page import ComfyPage
from tests.browser.thumbnails import write_thumbnail
from tests.browser.workflow_inputs import API_FOLDER, FOLDER, PAINTED
from tests.comfyui.server import ComfyServer


def write_json(path: Path, value: Any) -> None:
    """Readable, and the same bytes for the same value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_graph(page: ComfyPage, workflow: Workflow, folder: Path = FOLDER) -> None:
    """Build a workflow in the page, check it, and write both of its files.

    Raises:
        RuntimeError: the page makes something else of it.
    """
    lay_out(page, workflow)
    graph, prompt = marked(plain(page.graph()), workflow), page.to_api()
    if page.missing_nodes():
        raise RuntimeError(f"{workflow.name}: the page doesn't know {page.missing_nodes()}")
    if wired(prompt) != wired(workflow.api()):
        raise RuntimeError(f"{workflow.name}: the page makes {json.dumps(wired(prompt), indent=1)}")
    if overlaps(graph):
        raise RuntimeError(f"{workflow.name}: nodes overlap: {overlaps(graph)}")
    write_json(folder / f"{workflow.title}.json", graph)
    if workflow is RESTORE_VIDEO:
        write_json(blueprint_file, blueprint(graph))
    if workflow.app:
        return  # its API file is that of the graph which it opens
    shipped = {
        number: {**node, "_meta": {"title": prompt[number]["_meta"]["title"]}} for number, node in wired(prompt).items()
    }
    write_json(API_FOLDER / f"{workflow.name}.api.json", shipped)


def chosen(names: Sequence[str]) -> list[Workflow]:
    """The workflows of these names, or all.

    Raises:
        SystemExit: there is none of such a name.
    """
    known = {workflow.name: workflow for workflow in WORKFLOWS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"There is no workflow {', '.join(unknown)}; choose of {', '.join(known)}.")
    return [known[name] for name in names] or list(WORKFLOWS)


def main(names: Sequence[str]) -> None:
    """Write these workflows, or all."""
    workflows = chosen(names)
    with tempfile.TemporaryDirectory() as scratch, ComfyServer(Path(scratch)) as server:
        Image.new("RGB", (64, 64)).save(server.folder / "input" / PAINTED)
        with ComfyPage(server) as page:
            for workflow in workflows:
                write_graph(page, workflow)
                print(workflow.name)
        for workflow in workflows:
            if workflow.app:
                shutil.copyfile(FOLDER / f"{RESTORE_VIDEO.title}.jpg", FOLDER / f"{workflow.title}.jpg")
            else:
                write_thumbnail(server, workflow, FOLDER)


if __name__ == "__main__":
    main(sys.argv[1:])
