"""The ablation of Table 4: p of Eq. 6 at 0 (whole frame), 0.5 (switched) and 1 (face alone), all else equal.

``python -m training.evaluation.ablation training/configs/nano-ablation.toml --out docs/ablation [table.key=value …]``

Trains the three one after the other with the same seed and samples, measures each on the same validation clips, and
writes ``ablation.md``, ``ablation.json`` and ``ablation.png``. A run that is finished is not repeated. Errors are mean
squared errors of 0…1 values, of the whole frame and of the face (its mask).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from training.command import exit_status
from training.config import load_config
from training.train import train
from training.trainer.log import read_curve

PROBABILITIES = (0.0, 0.5, 1.0)
PAPER = {0.0: (0.1229, 0.9073), 0.5: (0.1112, 0.9128), 1.0: (0.1309, 0.9025)}
"""LPIPS and IDS of Table 4, of the 1.3B model."""


def run(config: Path, changes: tuple[str, ...]) -> dict[float, list[dict[str, Any]]]:
    """The validation entries of each p, by step."""
    found = {}
    for p in PROBABILITIES:
        base = load_config(config, changes)
        output = base.run.output / f"p{p:g}"
        done = load_config(config, (*changes, f"run.output={output}", f"loss.face_probability={p}"))
        entries = _validations(output)
        if not entries or entries[-1]["step"] < done.optimizer.steps:
            train(done)
            entries = _validations(output)
        found[p] = entries
    return found


def _validations(output: Path) -> list[dict[str, Any]]:
    return [entry for entry in read_curve(output / "log.jsonl") if "face_error" in entry]


def table(found: dict[float, list[dict[str, Any]]]) -> str:
    """The last figures of each p, beside the paper's own."""
    lines = [
        "| p | whole-frame error ×10³ | face error ×10³ | PSNR | paper: LPIPS ↓ | paper: IDS ↑ |",
        "|" + "---|" * 6,
    ]
    for p, entries in found.items():
        last, (lpips, ids) = entries[-1], PAPER[p]
        lines.append(f"| {p:g} | {1000 * last['error']:.3f} | {1000 * last['face_error']:.3f} | {last['psnr']:.2f} "
                     f"| {lpips:.4f} | {ids:.4f} |")  # fmt: skip
    lines.append(f"\nAfter {next(iter(found.values()))[-1]['step']} steps each; input {last['psnr_input']:.2f} dB.")
    return "\n".join(lines)


def plot(found: dict[float, list[dict[str, Any]]], path: Path) -> None:
    """Both errors over the steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for axis, key, title in zip(axes, ("error", "face_error"), ("whole frame", "face")):
        for p, entries in found.items():
            steps, errors = [e["step"] for e in entries], [1000 * e[key] for e in entries]
            axis.plot(steps, errors, marker="o", label=f"p = {p:g}")
        axis.set(title=title, xlabel="step", ylabel="mean squared error × 10³")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error, 130 after an interruption of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("changes", nargs="*", metavar="table.key=value")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    return exit_status(lambda: _report(run(args.config, tuple(args.changes)), args.out))


def _report(found: dict[float, list[dict[str, Any]]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = table(found)
    (out / "ablation.md").write_text(text + "\n")
    (out / "ablation.json").write_text(json.dumps({str(p): e for p, e in found.items()}, indent=1) + "\n")
    plot(found, out / "ablation.png")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
