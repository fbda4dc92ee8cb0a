"""Bad and odd inputs, each through the real command: ``python -m benchmarks.odd_inputs``.

Each row of the table makes its input, runs ``vividface`` on it with a tiny model, and checks the exit status, what was
told, what the output carries, and that every file that was there before is there unchanged. ``--facts`` compares what
ffprobe says of inputs and outputs, ``--fuzz`` damages whole files byte by byte. ``--write FILE`` puts what was run
between the ``rows``, ``facts`` and ``fuzz`` markers of a Markdown file. ``--work FOLDER`` keeps what came of each row,
and takes it from there where the row is the same. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.odd_inputs import facts, fuzz
from benchmarks.odd_inputs.rows import Row
from benchmarks.odd_inputs.run import Finding, run_row
from benchmarks.odd_inputs.table import ROWS, table
from benchmarks.odd_inputs.worker import Worker
from tests.tiny import save_tiny_checkpoint
from training.evaluation.report import write_between


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", metavar="WORDS", help="rows whose section or input has any of these words")
    add("--work", type=Path, metavar="FOLDER", help="keep what came of each row here")
    add("--facts", action="store_true", help="compare inputs and outputs by ffprobe, in place of the rows")
    add("--fuzz", type=int, nargs="?", const=fuzz.FILES, metavar="FILES", help="damaged files, in place of the rows")
    add("--ffprobe", default=shutil.which("ffprobe"), metavar="PROGRAM", help="default: the one on the path")
    add("--write", type=Path, metavar="FILE", help="a Markdown file with the markers")
    args = parser.parse_args(argv)
    os.environ["VIVIDFACE_MODELS"] = os.path.join(tempfile.gettempdir(), "no-models-for-odd-inputs")
    with tempfile.TemporaryDirectory(prefix="odd-inputs-") as name:
        folder = Path(name)
        model = save_tiny_checkpoint(folder / "model")
        if args.facts:
            if not args.ffprobe:
                parser.error("--facts needs ffprobe; name it with --ffprobe.")
            with Worker() as worker:
                return _report(args.write, "facts", facts.table(facts.PAIRS, folder, model, args.ffprobe, worker), 0)
        if args.fuzz:
            endings = list(_fuzz(args.fuzz, folder, model))
            return _report(args.write, "fuzz", fuzz.table(endings), sum(bool(ending.wrong) for ending in endings))
        rows = [row for row in ROWS if not args.only or any(words in f"{row.kind}: {row.what}" for words in args.only)]
        findings = _run(rows, folder, model, args.work)
        return _report(args.write, "rows", table(findings), sum(bool(finding.wrong) for finding in findings))


def _report(page: Path | None, name: str, text: str, wrong: int) -> int:
    print(text)
    if page is not None:
        write_between(page, name, text)
    return 1 if wrong else 0


def _run(rows: list[Row], folder: Path, model: Path, kept: Path | None) -> list[Finding]:
    findings = []
    with Worker() as worker:
        for number, row in enumerate(rows):
            record = kept / f"{row.mark()}.json" if kept else None
            if record is not None and record.exists():
                finding = Finding.load(row, record)
            else:
                finding = run_row(row, folder / f"{number:03d}", model, worker)
                if record is not None:
                    finding.save(record)
            findings.append(finding)
            mark = f"WRONG: {finding.wrong}" if finding.wrong else "as it should be"
            print(f"{number + 1} of {len(rows)}: {row.kind}, {row.what}: {mark}", file=sys.stderr, flush=True)
    return findings


def _fuzz(count: int, folder: Path, model: Path):
    whole = fuzz.sources(folder)
    with Worker(fuzz.LIMIT) as worker:
        for number, damage in enumerate(fuzz.damages(count)):
            ending = fuzz.run_one(damage, whole[damage.suffix], folder, model, worker)
            print(f"{number + 1} of {count}: {damage}: {ending.wrong or 'fine'}", file=sys.stderr, flush=True)
            yield ending


if __name__ == "__main__":
    sys.exit(main())
