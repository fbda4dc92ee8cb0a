"""From the README's first line to a restored clip in the page: the steps, and how long each takes.

``COMFY_HOME=/path/to/ComfyUI python -m benchmarks.newcomer [--write docs/comfyui.md]``

Does what "In ComfyUI" in the README says, with a real server and its page in a browser: clones this repository's last
commit, installs its requirements into ComfyUI's own environment (a bare one tells the whole time; what is there
already isn't installed again), starts ComfyUI, opens the template and presses Run. ``--write PAGE`` puts the table
between the page's ``newcomer`` markers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.example_workflows import RESTORE_VIDEO
from tests.browser.page import ComfyPage
from tests.browser.thumbnails import compared
from tests.comfyui.server import PACK, ComfyServer, comfy_python, comfy_version
from tests.paths import REPOSITORY
from training.evaluation.report import check_markers, write_between
from vividface_core.video.source import VideoFrames

MARKERS = "newcomer"


class Steps:
    """What a person does, and how long it takes."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.done.append((what, time.monotonic() - began))
        print(f"{len(self.done)}. {what}: {self.done[-1][1]:.0f} s", flush=True)

    def table(self, told: str) -> str:
        lines = ["| step | | seconds |", "|---|---|---|"]
        lines += [f"| {number} | {what} | {seconds:.0f} |" for number, (what, seconds) in enumerate(self.done, 1)]
        lines.append(f"| | together | {sum(seconds for _, seconds in self.done):.0f} |")
        return "\n".join([*lines, "", told])


def walk(work: Path) -> str:
    """The table, after all of it has been done in an empty folder."""
    steps, clone, comfy = Steps(), work / PACK, work / "comfy"
    with steps.step("clone the repository into `custom_nodes`"):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{REPOSITORY}", str(clone)], check=True)
    with steps.step("`pip install -r requirements.txt` with ComfyUI's Python"):
        pip = [comfy_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
        subprocess.run([*pip, str(clone / "requirements.txt")], check=True)
    server = ComfyServer(comfy, pack=clone)
    with steps.step("start ComfyUI"):
        server.start()
    try:
        return _in_the_page(steps, server)
    finally:
        server.stop()


def _in_the_page(steps: Steps, server: ComfyServer) -> str:
    with ComfyPage(server) as opened:
        page = opened.page
        with steps.step("press Templates, choose the pack"):
            page.get_by_role("button", name="Templates").first.click(timeout=120_000)
            dialog = page.get_by_role("dialog")
            dialog.get_by_text(PACK).first.click(timeout=120_000)
        with steps.step(f"choose *{RESTORE_VIDEO.title}*"):
            dialog.get_by_text(RESTORE_VIDEO.title).first.click(timeout=120_000)
            page.locator(".vf-compare").first.wait_for(timeout=120_000)
        with steps.step("press Run: the example clip is restored and compared"):
            entry = opened.run(timeout=1800)
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(str(entry["status"]))
    before, after = (VideoFrames(path) for path in compared(server, entry))
    version = ".".join(map(str, comfy_version()))
    return steps.table(
        f"ComfyUI {version}, {os.cpu_count()} processor cores, no GPU; the clip has {after.count} frames of "
        f"{before.size[0]}×{before.size[1]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    args = parser.parse_args()
    if args.write:
        check_markers(args.write, MARKERS)
    with tempfile.TemporaryDirectory() as work:
        text = walk(Path(work))
    print(text)
    if args.write:
        write_between(args.write, MARKERS, text)


if __name__ == "__main__":
    main()
