"""Plot the loss and validation curves of runs: ``python -m training.evaluation.curves RUN… --out FILE.png``.

A run is a folder with ``log.jsonl``, or such a file. One row of plots a run: its loss (each step and a running mean)
and the PSNR of its validation clips beside that of their input.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

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

    figure, rows = pyplot.subplots(len(runs), 2, figsize=(10, 3 * len(runs)), squeeze=False, constrained_layout=True)
    for (left, right), run in zip(rows, runs):
        path = run / "log.jsonl" if run.is_dir() else run
        entries = read_curve(path)
        if not entries:
            raise InvalidOption(f"{path} holds no curve.")
        name = path.parent.name if path.name == "log.jsonl" else path.stem
        _losses(left, [e for e in entries if "loss" in e], name)
        _validation(right, [e for e in entries if "psnr" in e], name)
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    plot(args.runs, args.out)


if __name__ == "__main__":
    main()
