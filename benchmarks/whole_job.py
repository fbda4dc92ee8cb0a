"""How long the README's first command takes, cold: ``python -m benchmarks.whole_job [--before REVISION_OR_FOLDER]``.

The demo (degrade a real clip of 72 frames, restore it, show both) runs in fresh processes as a user starts it.
``--before`` runs another checkout's demo in turn with this one's, so that both meet the same machine, and the ratio of
the medians is told. ``--busy N`` keeps N other processes busy meanwhile. Stages are told apart from outside, by what
the program says and by when its files are finished, so that any version can be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from training.assets.revisions import unpack
from vividface_core.errors import InvalidOption

HERE = Path(__file__).resolve().parents[1]
FILES = {"truth.mp4": "start", "input.mp4": "degrade"}
"""What is there when a stage ends."""
WORDS = {
    "start, load": ("is the small embedded model",),
    "shots": ("Following faces",),
    "faces, plan": ("region(s) in", " face track"),
    "to the first frame": ("Restoring",),
}
"""What is said when a stage ends, in one version or another."""
LAST = {"restored.mp4": "restore", "side_by_side.mp4": "side by side"}
STAGES = (*FILES.values(), *WORDS, *LAST.values(), "exit")
COLD = ("start, load", "shots", "faces, plan", "to the first frame")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="CHECKOUT", help="a revision of this repository, or a folder")
    parser.add_argument("--runs", type=int, default=3, help="of each checkout (default 3); medians are told")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes that are busy beside")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    args = parser.parse_args()
    with ExitStack() as stack:
        checkouts = {"now": HERE}
        if args.before:
            checkouts = {"before": _checkout(args.before, stack), **checkouts}
        for checkout in checkouts.values():
            run(checkout)  # compiles the modules, fetches the clip, fills the system's cache
        stack.enter_context(busy(args.busy))
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
        for number in range(args.runs):
            for name, checkout in checkouts.items():
                rows[name].append(run(checkout) | {"torch": _torch_import()})
                print(f"run {number + 1}, {name}: {rows[name][-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    medians = {
        name: {key: statistics.median(row[key] for row in each) for key in each[0]} for name, each in rows.items()
    }
    print(table(medians))
    if args.json:
        args.json.write_text(json.dumps({"busy": args.busy, "cores": os.cpu_count(), "rows": rows}, indent=1) + "\n")


def _checkout(name: str, stack: ExitStack) -> Path:
    if Path(name).is_dir():
        return Path(name).resolve()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    try:
        unpack(name, folder, HERE)
    except InvalidOption as error:
        raise SystemExit(str(error)) from error
    return folder


def run(checkout: Path) -> dict[str, float]:
    """Seconds of each stage, of the whole job (``wall``), and of all its cores together (``cpu``)."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder:
        began, used = time.time(), os.times()
        job = subprocess.Popen(
            [sys.executable, "-m", "training.demo", folder],
            cwd=checkout,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        said, log = _listen(job)
        if job.wait():
            raise SystemExit(f"The demo of {checkout} failed: {log.decode(errors='replace')[-2000:]}")
        ended, now = time.time(), os.times()
        ends = {stage: (Path(folder) / name).stat().st_mtime for name, stage in {**FILES, **LAST}.items()} | said
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    times = [began, *(ends[stage] for stage in STAGES[:-1]), ended]
    stages = {stage: until - since for stage, since, until in zip(STAGES, times, times[1:])}
    return {**stages, "wall": ended - began, "cpu": cpu, "cold": sum(stages[stage] for stage in COLD)}


def _listen(job: subprocess.Popen) -> tuple[dict[str, float], bytes]:
    """When each of :data:`WORDS` was first said, and all that was."""
    heard, log = {}, b""
    while piece := os.read(job.stderr.fileno(), 1 << 16):
        log += piece
        for stage, said in WORDS.items():
            if stage not in heard and any(words.encode() in log for words in said):
                heard[stage] = time.time()
    return heard, log


def _torch_import() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


@contextmanager
def busy(count: int):
    """So many processes that do nothing but keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def table(medians: dict[str, dict[str, float]]) -> str:
    """Medians as Markdown, with the ratio where there are two checkouts."""
    names = list(medians)
    compared = len(names) == 2
    lines = [f"| seconds | {' | '.join(names)} |{' ratio |' if compared else ''}"]
    lines.append("|---|" + "---|" * (len(names) + compared))
    titles = {stage: stage for stage in STAGES} | {
        "wall": "**whole job**",
        "cpu": "processor time, all cores",
        "cold": "`vividface restore` to its first frame",
        "torch": "of which torch's import",
    }
    for key, title in titles.items():
        values = [medians[name][key] for name in names]
        ratio = f" {values[0] / values[1]:.2f} × |" if compared and values[1] > 0.05 else " |" * compared
        lines.append(f"| {title} | {' | '.join(f'{value:.2f}' for value in values)} |{ratio}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
