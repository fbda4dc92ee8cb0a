"""How the throughput of a curation grows with workers: ``python -m benchmarks.curate_engines [--items N]``.

Each item sleeps, so that the figures are those of the engines and not of a machine's cores: what an ideal engine would
take is known, and the rest is its cost. Start-up counts apart: it is paid once a run. ``--seconds`` sets how long an
item takes, ``--workers`` which counts are tried, ``--json FILE`` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vividface_core.runtime.engines import choose_engine
from vividface_core.runtime.engines.base import Item, Result, Worker


@dataclass(frozen=True)
class Sleeping:
    """Items: ``seconds``."""

    def __call__(self) -> Worker:
        return self.work

    def work(self, item: Item) -> Result:
        time.sleep(item["seconds"])
        return {"worker": os.getpid()}


def measure(name: str, workers: int | None, items: int, seconds: float) -> dict[str, Any]:
    """``start``: seconds until every worker has given a result, without those of one item; ``rate``: items a second
    from there on."""
    with tempfile.TemporaryDirectory() as folder:
        engine = choose_engine(name, None, workers, Path(folder))
        began, count, seen, late = time.perf_counter(), workers or 1, set(), 0
        try:
            for _, result in engine.map(Sleeping(), [{"seconds": seconds}] * items):
                late += len(seen) == count
                if result["worker"] not in seen:
                    seen.add(result["worker"])
                    ready = time.perf_counter()
            rate = late / (time.perf_counter() - ready)
        finally:
            engine.close()
    return {
        "engine": name,
        "workers": count,
        "seconds": seconds,
        "items": items,
        "start": ready - began - seconds,
        "rate": rate,
        "ideal": rate * seconds / count,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, against one Ray worker with items of the same length."""
    alone = {row["seconds"]: row["rate"] for row in rows if row["engine"] == "ray" and row["workers"] == 1}
    lines = ["| engine | workers | s an item | start | items/s | of the ideal | against 1 worker |", "|" + "---|" * 7]
    for row in rows:
        against = f"{row['rate'] / alone[row['seconds']]:.2f}×" if row["seconds"] in alone else "-"
        lines.append(
            f"| {row['engine']} | {row['workers']} | {row['seconds']:g} | {row['start']:.1f} s "
            f"| {row['rate']:.2f} | {row['ideal']:.0%} | {against} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=40, help="for each worker")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.2, 1.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for seconds in args.seconds:
        for name, count in [("local", None), *(("ray", count) for count in args.workers)]:
            rows.append(measure(name, count, args.items * (count or 1), seconds))
            print(table(rows).splitlines()[-1], flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
