"""BFVR-STC's ablations at a small size, one command a table, all else equal.

``python -m training.evaluation.codebook_ablation fusion|prior|backbones [CONFIG] --out FOLDER [table.key=value …]``

- ``fusion``: the two codebooks' entries are added, or joined by a convolution.
- ``prior``: the marginal prior as in the paper, without, and as the released code computes it: what share of both
  codebooks is used on the validation clips.
- ``backbones``: which frozen network the discriminator's heads stand on: ``--backbones NAME …``, each as
  ``loss.backbone`` names it, beside none.

The runs of a table have the same seed, samples and validation clips; a run that is finished is not repeated. CONFIG is
one of stage I. Written are ``<table>.md``, ``.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
from operator import itemgetter
from pathlib import Path

from training.command import exit_status
from training.evaluation.ablation import Entries, Table, Variant, config_and_changes, plot_curves, report, run
from training.stages.codebook_usage import BRANCHES
from vividface_core.bfvr_stc.quantizer import FUSIONS
from vividface_core.errors import InvalidOption

DEFAULT = Path(__file__).parents[1] / "configs" / "bfvr-stc-nano-ablation.toml"
FUSION = Table(
    "fusion",
    "fusion",
    tuple(Variant(kind, f"fusion-{kind}", (f'model.network.fusion="{kind}"',)) for kind in FUSIONS),
)
PRIOR = Table(
    "prior",
    "prior",
    (
        Variant("paper", "fusion-addition", ('model.network.fusion="addition"',)),
        Variant("none", "prior-none", ("loss.prior=0.0",)),
        Variant("released code", "prior-released", ('loss.prior_form="released"', "loss.prior=0.1")),
    ),
)
"""Its first row is a run of :data:`FUSION`."""
TABLES = {table.file: table for table in (FUSION, PRIOR)}


def backbones_table(names: list[str]) -> Table:
    """A run without a discriminator and one with each of these backbones.

    Raises:
        InvalidOption: none is named.
    """
    if not names:
        raise InvalidOption("Name backbones: --backbones vgg16 dinov2_vits14 …")
    rows = [Variant("none", "fusion-addition", ('model.network.fusion="addition"',))]
    for name in names:
        folder = "backbone-" + "".join(c if c.isalnum() else "-" for c in name)
        rows.append(Variant(name, folder, (f"loss.backbone={json.dumps(name)}", "loss.adversarial=0.4")))
    return Table("backbone", "backbones", tuple(rows))


def text_of(table: Table, found: dict[str, Entries]) -> str:
    """The last figures of each variant."""
    heads = [table.title, "PSNR", "temporal error ×10³"]
    heads += [f"{figure} {BRANCHES[branch]}" for branch in BRANCHES for figure in ("usage", "perplexity")]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for variant in table.variants:
        last = found[variant.label][-1]
        cells = [variant.label, f"{last['psnr']:.2f}", f"{1000 * last['temporal']:.2f}"]
        for branch in BRANCHES:
            cells += [f"{last[f'usage_{branch}']:.1%}", f"{last[f'perplexity_{branch}']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"\nAfter {last['step']} steps each, on the same validation clips.")
    return "\n".join(lines)


def plot(table: Table, found: dict[str, Entries], path: Path) -> None:
    """PSNR and the usage of both codebooks over the steps."""
    titles = {"psnr": "PSNR (dB)", "usage_s": "used of the spatial codes", "usage_t": "used of the temporal codes"}
    panels = [({"title": title}, itemgetter(key)) for key, title in titles.items()]
    plot_curves(found, panels, path, legend=table.title, size=(12, 3.4))


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error, 130 after an interruption of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "backbones"])
    parser.add_argument("words", nargs="*", metavar="WORD", help="CONFIG; table.key=value …")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=[], metavar="NAME")
    args = parser.parse_intermixed_args(argv)

    def work() -> None:
        config, changes = config_and_changes(args.words, DEFAULT)
        table = TABLES.get(args.table) or backbones_table(args.backbones)
        found = run(table, config, changes)
        report(table, found, text_of(table, found), plot, args.out)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
