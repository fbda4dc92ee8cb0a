"""Are the results of two commits equal, bit for bit? A change of names, places or mechanisms must leave them so.

``python -m benchmarks.same_results --commit BASE [--with HEAD] [--only NAMES] [--work FOLDER]``

Both commits are checked out into scratch folders and run as a user runs them, with the same libraries, one thread, and
the embedded model of BASE in both (its third edition is another model, and an older loader knows no other). Compared
are

- ``demo``: every decoded frame of what ``python -m training.demo`` writes, the restored clip among it;
- ``metrics``: every number of ``vividface metrics --json`` about BASE's restored clip against its truth;
- ``training``: all tensors after one step of the latent and one of the pixel stage, on the clips that BASE prepared,
  and their losses;
- ``workflows``: for each API workflow, on a real ComfyUI server, every decoded frame of the videos it leaves and every
  number it shows.

Names of tensors and of entries in reports may differ, what they hold may not. Exit status: 0 if all is equal, 1 if
something differs; each difference is a line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = Path("vividface_core/assets/vividface-nano")
TIMES = ("seconds", "time", "fps", "date", "version", "memory")
"""Entries of reports whose names hold one of these say how a run went, not what it found."""
CONFIG = """
stage = "{stage}"
[run]
output = "{output}"
precision = "no"
log_every = 1
checkpoint_every = 1
validate_every = 1
validation_clips = 1
trackers = []
[model]
base = "vividface-nano"
native_size = 64
native_frames = 9
[data]
path = "{data}"
workers = 0
[optimizer]
rate = 2e-3
batch = 2
micro_batch = 2
steps = 1
warmup = 1
ema = 0.9
"""
"""With the optimizer's keys of the first edition, which every later one reads too."""
Facts = dict[str, str]
"""What was found, by name: digests and numbers as text."""


def run(tree: Path, *words: object, statuses: tuple[int, ...] = (0,)) -> None:
    """``python …`` with the package of a checkout."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=tree, env=environment(tree), capture_output=True, text=True
    )
    if done.returncode not in statuses:
        raise SystemExit(f"{' '.join(map(str, words))} in {tree}:\n{done.stderr[-3000:]}")


def environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "VIVIDFACE_MODELS": str(tree / "none")}


def vividface(tree: Path) -> tuple[str, str]:
    """``-c`` and a program that runs the command of a checkout, wherever its entry point is."""
    for line in (tree / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("vividface = "):
            module, name = line.split('"')[1].split(":")
            return "-c", f"import sys; from {module} import {name}; sys.exit({name}())"
    raise SystemExit(f"{tree} has no command 'vividface'.")


def frames_of(path: Path) -> str:
    """A digest of all decoded frames of a video, as they are stored, with their times."""
    import av

    from vividface_core.video.pixel_formats import canonical, planes

    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            digest.update(f"{frame.pts} {frame.format.name}".encode())
            for plane in planes(canonical(frame)):
                digest.update(plane.tobytes())
    return digest.hexdigest()


def numbers_of(value: Any) -> Iterator[str]:
    """All numbers of a report but those of :data:`TIMES`."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not any(word in key for word in TIMES):
                yield from numbers_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers_of(part)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield repr(value)


def tensors_of(folder: Path) -> list[str]:
    """Shape and digest of every tensor below a folder, sorted; names are left out."""
    import torch
    from safetensors.torch import load_file

    found = []
    for path in folder.rglob("*.safetensors"):
        for tensor in load_file(path).values():
            data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            found.append(f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(data).hexdigest()}")
    return sorted(found)


def demo(tree: Path, out: Path, base: Path) -> Facts:
    run(tree, "-m", "training.demo", out)
    return {path.name: frames_of(path) for path in sorted(out.glob("*.mp4"))}


def metrics(tree: Path, out: Path, base: Path) -> Facts:
    report = out / "report.json"
    demo_of_base = base / "demo"
    words = ("metrics", demo_of_base / "restored.mp4", "--reference", demo_of_base / "truth.mp4", "--json", report)
    run(tree, *vividface(tree), *words, "--quiet")
    content = json.loads(report.read_text(encoding="utf-8"))
    return {"numbers": " ".join(sorted(numbers_of(content)))}


def training(tree: Path, out: Path, base: Path) -> Facts:
    data = base / "prepared"
    if not data.exists():
        options = ("--detector", "mtcnn", "--frames", 9, "--size", 64, "--pixels", "--smallest", 40)
        run(tree, "-m", "training.prepare", base / "demo" / "truth.mp4", "--out", data, *options)
    facts = {}
    for stage in ("latent", "pixel"):
        folder = out / stage
        folder.mkdir()
        (folder / "config.toml").write_text(CONFIG.format(stage=stage, output=folder / "run", data=data))
        run(tree, "-m", "training.train", folder / "config.toml")
        facts[f"{stage}: tensors"] = "\n".join(tensors_of(folder / "run"))
        entries = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
        facts[f"{stage}: losses"] = " ".join(repr(entry["loss"]) for entry in entries if "loss" in entry)
    return facts


def workflows(tree: Path, out: Path, base: Path) -> Facts:
    from tests.browser.clips import FRINGE, SHORT_HAIR, people, write_clip, write_spoilt
    from tests.browser.example_workflows import FILE
    from tests.comfyui.server import ComfyServer
    from vividface_core.degrade import Degradation

    facts = {}
    material = base / "material"
    if not material.exists():
        material.mkdir(parents=True)
        clean = people([FRINGE, SHORT_HAIR], 160, 17)
        write_clip(material / FILE, Degradation(2, 2, 5, 25)(clean))
        write_spoilt(material, clean)  # for the workflow that scores a folder
    with ComfyServer(out, pack=tree, environment=environment(tree)) as server:
        shutil.copytree(material, server.folder / "input", dirs_exist_ok=True)
        for path in sorted((tree / "workflows" / "api").glob("*.json")):
            before = set((server.folder / "output").rglob("*"))
            shown = server.run(json.loads(path.read_text(encoding="utf-8")), timeout=3600)
            name = path.name.split(".")[0]
            facts[f"{name}: numbers"] = " ".join(sorted(numbers_of(shown)))
            left = sorted(set((server.folder / "output").rglob("*")) - before)
            videos = [file for file in left if file.suffix in (".mp4", ".mkv", ".mov")]
            facts |= {f"{name}: {file.name}": frames_of(file) for file in videos}
    return facts


PROBES: dict[str, Callable[[Path, Path, Path], Facts]] = {
    "demo": demo,
    "metrics": metrics,
    "training": training,
    "workflows": workflows,
}
"""Each gets a checkout, an empty folder of its own, and BASE's folder, whose ``demo`` is there."""


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "worktree", "add", "--force", "--detach", "--quiet", folder, commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], check=True)


def differences(one: Facts, other: Facts) -> list[str]:
    """A line each, with how much of it differs."""
    lines = []
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            lines.append(f"{name}: only {'before' if name in one else 'after'}")
        elif one[name] != other[name]:
            rows, others = one[name].split("\n"), other[name].split("\n")
            gone = len(set(rows) - set(others))
            lines.append(f"{name}: differs" + (f" ({gone} of {len(rows)}, {len(others)} now)" if len(rows) > 1 else ""))
    return lines


def compare(base: str, head: str, only: list[str], work: Path) -> int:
    found: list[str] = []
    with checkout(base, work / "tree-base") as old, checkout(head, work / "tree-head") as new:
        shutil.rmtree(new / MODEL)
        shutil.copytree(old / MODEL, new / MODEL)
        names = ["demo", *(name for name in PROBES if name in only and name != "demo")]
        for name in names:  # the others look at what BASE's demo wrote
            facts = []
            for tree, folder in ((old, work / "base"), (new, work / "head")):
                (folder / name).mkdir(parents=True)
                facts.append(PROBES[name](tree, folder / name, work / "base"))
            told = differences(*facts)
            found += told
            print(f"{name}: {'equal' if not told else 'differs'} ({len(facts[0])} compared)", flush=True)
            print(*(f"  {line}" for line in told), sep="\n", flush=True)
    return bool(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", required=True, help="before")
    parser.add_argument("--with", dest="head", default="HEAD", help="after (default: HEAD)")
    parser.add_argument("--only", default=",".join(PROBES), help="with commas (default: all of them)")
    parser.add_argument("--work", type=Path, help="keep what was made in this new folder")
    args = parser.parse_args()
    only = args.only.split(",")
    if unknown := set(only) - PROBES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROBES)}")
    if args.work:
        args.work.mkdir(parents=True)
        return compare(args.commit, args.head, only, args.work.absolute())
    with tempfile.TemporaryDirectory() as folder:
        return compare(args.commit, args.head, only, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
