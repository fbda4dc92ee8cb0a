"""The paper's ablations at a small size, one command a table, all else equal.

``python -m training.evaluation.ablation p|stages|curated [CONFIG] --out docs/ablation [table.key=value …]``

- ``p``, Table 4: p of Eq. 6 at 0 (whole frame), 0.5 (switched) and 1 (face alone). This is also what a call without a
  table's name runs.
- ``stages``, Table 5: the face-focused loss in neither term, in the latent one (Eq. 7), in the latent and the pixel one
  (Eq. 8).
- ``curated``, Table 6: all of the material, or what ``vividface curate`` keeps of it, for the same number of steps:
  ``--manifest dataset/manifest.jsonl`` of the material's videos (``training.material_videos``), or ``--curated FOLDER``
  of ``training.prepare --manifest``.

The runs of a table have the same seed and, but for Table 6, the same samples, and are measured on the same validation
clips. A run that is finished is not repeated, also where two tables share it. Written are ``<table>.md``, ``.json`` and
``.png`` (of ``p``: ``ablation.md`` …). Errors are mean squared errors of 0…1 values, of the whole frame and of the face
(its mask).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.command import exit_status
from training.config import Config, load_config
from training.train import train
from training.trainer.log import read_curve
from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import write_json

DEFAULT = Path(__file__).parents[1] / "configs" / "nano-ablation.toml"
Entries = list[dict[str, Any]]
"""Of one run's validations, by step."""


@dataclass(frozen=True)
class Variant:
    """A row of a table.

    Attributes:
        folder: of its run, below the configuration's ``run.output``.
        changes: what it changes in the configuration.
        paper: LPIPS and IDS there, of the 1.3B model.
    """

    label: str
    folder: str
    changes: tuple[str, ...]
    paper: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Table:
    """What is compared, and the name of its files."""

    title: str
    file: str
    variants: tuple[Variant, ...]


Plot = Callable[[Table, dict[str, Entries], Path], None]
"""Draws the entries by variant into a file."""


def _p(value: str, paper: tuple[float, float], label: str = "") -> Variant:
    return Variant(label or value, f"p{value}", (f"loss.face_probability={value}",), paper)


_NONE, _BOTH = (0.1229, 0.9073), (0.1112, 0.9128)
P = Table("p", "ablation", (_p("0", _NONE), _p("0.5", _BOTH), _p("1", (0.1309, 0.9025))))
"""Table 4."""
STAGES = Table(
    "face-focused",
    "stages",
    (
        _p("0", _NONE, "nowhere"),
        Variant("latent", "latent", ("loss.face_probability=0", "loss.latent_face_probability=0.5"), (0.1261, 0.9050)),
        _p("0.5", _BOTH, "latent and pixel"),
    ),
)
"""Table 5; its first and last row are runs of Table 4."""


def curated_table(manifest: Path | None, folder: Path | None) -> Table:
    """Table 6; its first row is a run of Table 4.

    Raises:
        InvalidOption: neither or both of the two ways to name the curated set.
    """
    if (manifest is None) == (folder is None):
        raise InvalidOption("Name the curated set: --manifest of vividface curate, or --curated with prepared data.")
    change = f"data.manifest={json.dumps(str(manifest))}" if manifest else f"data.path={json.dumps(str(folder))}"
    kept = Variant("curated", "curated", ("loss.face_probability=0.5", change), _BOTH)
    return Table("data", "curated", (_p("0.5", (0.1285, 0.9046), "all"), kept))


def run(table: Table, config: Path, changes: tuple[str, ...]) -> dict[str, Entries]:
    """The validation entries of each variant, by step.

    Raises:
        InvalidOption: a folder holds a run of another configuration, or the variants' validation clips differ.
    """
    output, found = load_config(config, changes).run.output, {}
    runs = {
        variant: load_config(
            config, (*changes, f"run.output={json.dumps(str(output / variant.folder))}", *variant.changes)
        )
        for variant in table.variants
    }
    if len({done.data.validation or done.data.path for done in runs.values()}) > 1:
        raise InvalidOption("Two sets of data need one validation set: give data.validation=FOLDER.")
    for variant, done in runs.items():
        _claim(done)
        entries = _validations(done.run.output)
        if not entries or entries[-1]["step"] < done.optimizer.steps:
            train(done)
            entries = _validations(done.run.output)
        found[variant.label] = entries
    return found


def _claim(config: Config) -> None:
    """Note what is run in this folder, so that another configuration's result isn't taken for it."""
    path = config.run.output / "settings.json"
    if path.is_file() and not _same(json.loads(path.read_text()), config):
        raise InvalidOption(f"{config.run.output} holds a run of another configuration; choose another run.output.")
    config.run.output.mkdir(parents=True, exist_ok=True)
    write_json(path, config.model_dump(mode="json"))


def _same(noted: dict[str, Any], config: Config) -> bool:
    """Whether a note says the same; what it doesn't know yet stood at its default."""
    try:
        return Config.model_validate(noted) == config
    except ValidationError:
        return False


def _validations(output: Path) -> Entries:
    return [entry for entry in read_curve(output / "log.jsonl") if "face_error" in entry]


def text_of(table: Table, found: dict[str, Entries]) -> str:
    """The last figures of each variant, beside the paper's own."""
    lines = [
        f"| {table.title} | whole-frame error ×10³ | face error ×10³ | PSNR | paper: LPIPS ↓ | paper: IDS ↑ |",
        "|" + "---|" * 6,
    ]
    for variant in table.variants:
        last, (lpips, ids) = found[variant.label][-1], variant.paper
        lines.append(
            f"| {variant.label} | {1000 * last['error']:.3f} | {1000 * last['face_error']:.3f} "
            f"| {last['psnr']:.2f} | {lpips:.4f} | {ids:.4f} |"
        )
    lines.append(f"\nAfter {last['step']} steps each; input {last['psnr_input']:.2f} dB.")
    return "\n".join(lines)


def plot_curves(
    found: dict[str, Entries],
    panels: Sequence[tuple[dict[str, str], Callable[[dict[str, Any]], float]]],
    path: Path,
    *,
    legend: str = "",
    size: tuple[float, float] = (9, 3.6),
    dpi: int = 100,
) -> None:
    """Figures of each variant over the steps.

    Args:
        panels: a row of them; of each what the axes say (``title``, ``ylabel``), and the figure of an entry.
        legend: what the variants are.
        size, dpi: of the picture, in inches.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=size, constrained_layout=True)
    for axis, (texts, value) in zip(axes, panels):
        for label, entries in found.items():
            axis.plot(
                [entry["step"] for entry in entries], [value(entry) for entry in entries], marker="o", label=label
            )
        axis.set(**texts, xlabel="step")
        axis.grid(alpha=0.3)
    axes[0].legend(title=legend or None)
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)


def plot(table: Table, found: dict[str, Entries], path: Path) -> None:
    """Both errors over the steps."""
    unit = "mean squared error × 10³"
    named = {f"{table.title} = {label}" if table is P else label: entries for label, entries in found.items()}
    panels = (
        ({"title": "whole frame", "ylabel": unit}, lambda entry: 1000 * entry["error"]),
        ({"title": "face", "ylabel": unit}, lambda entry: 1000 * entry["face_error"]),
    )
    plot_curves(named, panels, path, dpi=110)


def config_and_changes(words: Sequence[str], default: Path) -> tuple[Path, tuple[str, ...]]:
    """The configuration that the words of a command line name first, or ``default``, and what they change in it."""
    if words and "=" not in words[0]:
        return Path(words[0]), tuple(words[1:])
    return default, tuple(words)


def report(table: Table, found: dict[str, Entries], text: str, draw: Plot, out: Path) -> None:
    """Print the table; write it, all validation entries and the plot into ``out``, named after the table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{table.file}.md").write_text(text + "\n")
    (out / f"{table.file}.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(table, found, out / f"{table.file}.png")
    print(text)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error, 130 after an interruption of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="WORD", help="p, stages or curated; CONFIG; table.key=value …")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, help="curated: of vividface curate over the material's videos")
    parser.add_argument("--curated", type=Path, help="curated: prepared data of the curated set")
    args = parser.parse_intermixed_args(argv)

    def work() -> None:
        words = list(args.words)
        name = words.pop(0) if words[0] in ("p", "stages", "curated") else "p"
        config, changes = config_and_changes(words, DEFAULT)
        if name != "curated" and (args.manifest or args.curated):
            raise InvalidOption("--manifest and --curated are for the table 'curated'.")
        table = {"p": P, "stages": STAGES}.get(name) or curated_table(args.manifest, args.curated)
        found = run(table, config, changes)
        report(table, found, text_of(table, found), plot, args.out)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
