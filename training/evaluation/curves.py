"""Plot the loss and validation curves of runs: ``python -m training.evaluation.curves RUN… --out FILE.png``.

A run is a folder with ``log.jsonl``, or such a file. One row of plots a run: its loss (each step and a running mean),
the PSNR of its validation clips beside that of their input, and of runs with codebooks how much of them they use.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from training.stages.codebook_usage import BRANCHES
from training.trainer.log import read_curve
from vividface_core.errors import InvalidOption

SMOOTH = 15


def plot(runs: list[Path], out: Path) -> None:
    """Write the picture.

    Raises:
        InvalidOption: a run has no log.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    read = [_read(run) for run in runs]
    columns = 3 if any("usage_s" in entry for _, entries in read for entry in entries) else 2
    size = (5 * columns, 3 * len(read))
    figure, rows = pyplot.subplots(len(read), columns, figsize=size, squeeze=False, constrained_layout=True)
    for row, (name, entries) in zip(rows, read):
        _losses(row[0], [e for e in entries if "loss" in e], name)
        _validation(row[1], [e for e in entries if "psnr_input" in e], name)
        if columns == 3:
            used = [e for e in entries if "psnr_input" in e and "usage_s" in e]
            _usage(row[2], used, name) if used else row[2].axis("off")
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


def _read(run: Path) -> tuple[str, list[dict]]:
    path = run / "log.jsonl" if run.is_dir() else run
    entries = read_curve(path)
    if not entries:
        raise InvalidOption(f"{path} holds no curve.")
    return path.parent.name if path.name == "log.jsonl" else path.stem, entries


def _losses(axis: Any, entries: list[dict], name: str) -> None:
    steps, values = (np.array([entry[key] for entry in entries]) for key in ("step", "loss"))
    axis.plot(steps, values, alpha=0.3, linewidth=0.8)
    if len(values) > SMOOTH:
        mean = np.convolve(values, np.ones(SMOOTH) / SMOOTH, "valid")
        axis.plot(steps[SMOOTH - 1 :], mean)
    axis.set(title=f"{name}: training loss", xlabel="step", yscale="log")
    axis.grid(alpha=0.3)


def _validation(axis: Any, entries: list[dict], name: str) -> None:
    steps = [entry["step"] for entry in entries]
    axis.plot(steps, [entry["psnr"] for entry in entries], marker="o", label="output")
    if entries and entries[0]["psnr_input"] < 99:
        axis.plot(steps, [entry["psnr_input"] for entry in entries], linestyle="--", label="input")
    axis.set(title=f"{name}: validation PSNR (dB)", xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend()


def _usage(axis: Any, entries: list[dict], name: str) -> None:
    """Share of both codebooks' codes that the validation clips use (lines) and their perplexity (dashed)."""
    beside = axis.twinx()
    for color, (branch, title) in zip(("C0", "C1"), BRANCHES.items()):
        steps = [entry["step"] for entry in entries]
        axis.plot(steps, [entry[f"usage_{branch}"] for entry in entries], color, marker="o", label=title)
        beside.plot(steps, [entry[f"perplexity_{branch}"] for entry in entries], color, linestyle="--")
    axis.set(title=f"{name}: codes used (lines)", xlabel="step", ylim=(0, 1.02))
    beside.set(ylabel="perplexity (dashed)", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    plot(args.runs, args.out)


if __name__ == "__main__":
    main()
