"""DVFace's ablation at a small size by one command, all else equal.

``python -m training.evaluation.dvface_ablation [CONFIG] --out FOLDER [table.key=value …]``

The denoiser is trained without priors, with the temporal ones alone (γ and β), with the spatial ones alone (attention
over f_s), with both, and with both in the other reading of the figure, Q from the denoiser's tokens. The runs have the
same seed, samples, steps and validation clips; a run that is finished is not repeated. CONFIG is one of stage
``fusion``. Written are ``priors.md``, ``.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.command import exit_status
from training.evaluation.ablation import Entries, Table, Variant, config_and_changes, plot_curves, report, run

DEFAULT = Path(__file__).parents[1] / "configs" / "dvface-nano-fusion.toml"


def _variant(label: str, folder: str, temporal: bool, spatial: bool, query: str = "temporal") -> Variant:
    halves = (f"temporal={str(temporal).lower()}", f"spatial={str(spatial).lower()}", f'query="{query}"')
    return Variant(label, folder, tuple(f"model.fusion.{half}" for half in halves))


PRIORS = Table(
    "priors",
    "priors",
    (
        _variant("none", "none", False, False),
        _variant("temporal", "temporal", True, False),
        _variant("spatial", "spatial", False, True),
        _variant("both", "both", True, True),
        _variant("both, Q from the tokens", "tokens", True, True, "tokens"),
    ),
)


def text_of(table: Table, found: dict[str, Entries]) -> str:
    """The last figures of each variant."""
    heads = [table.title, "PSNR", "gain", "whole-frame error ×10³", "face error ×10³", "temporal error ×10³"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for label, entries in found.items():
        last = entries[-1]
        lines.append(
            f"| {label} | {last['psnr']:.2f} | {last['psnr'] - last['psnr_input']:+.2f} | {1000 * last['error']:.3f} "
            f"| {1000 * last['face_error']:.3f} | {1000 * last['temporal']:.2f} |"
        )
    lines.append(
        f"\nAfter {last['step']} steps each, on the same validation clips; their temporal error is "
        f"{1000 * last['temporal_input']:.2f}, their PSNR {last['psnr_input']:.2f} dB."
    )
    return "\n".join(lines)


def plot(table: Table, found: dict[str, Entries], path: Path) -> None:
    """Gain in PSNR and temporal error over the steps."""
    panels = (
        ({"title": "gain in PSNR (dB)"}, lambda entry: entry["psnr"] - entry["psnr_input"]),
        ({"title": "temporal error, of the input's"}, lambda entry: entry["temporal"] / entry["temporal_input"]),
    )
    plot_curves(found, panels, path, legend=table.title)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error, 130 after an interruption of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help="CONFIG; table.key=value …")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_intermixed_args(argv)

    def work() -> None:
        config, changes = config_and_changes(args.words, DEFAULT)
        found = run(PRIORS, config, changes)
        report(PRIORS, found, text_of(PRIORS, found), plot, args.out)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
