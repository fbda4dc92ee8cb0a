"""What a run says on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from vividface_core.pipeline.options import Plan
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.wording import counted, duration

WORK = "{l_bar}{bar}| [{elapsed}<{remaining}]"
"""Work has no unit that anybody would count."""
LABELS = {"looks": "Looking around", "shots": "Looking for cuts", "faces": "Following faces", "restore": "Restoring"}


class Console(Callbacks):
    """Progress bars on stderr; the plan before anything is restored."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: tqdm | None = None

    def plan(self, plan: Plan) -> None:
        self.close()
        regions = sum(map(len, plan.tracks))
        what = "whole frames" if plan.whole_frame else counted(regions, "face track")
        time = "" if plan.seconds is None else f", about {duration(plan.seconds)}"
        height, width = plan.shape
        windows = f"{counted(plan.window_count, 'window')} of up to {counted(plan.window, 'frame')}"
        self._say(
            f"{counted(len(plan.shots), 'shot')}, {what} in {windows} at {width}×{height}; estimated peak of the model "
            f"{plan.peak_memory / 2**30:.2f} GiB{time}."
        )

    def progress(self, stage: str, done: float, total: float | None) -> None:
        if self._quiet or stage not in LABELS:
            return
        bar = self._bar
        if bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            # Work that an earlier run did is no measure of the speed; the mean speed is what remains to be done by.
            options: dict[str, Any] = {"unit": "frame"}
            if stage == "restore":
                options = {"initial": done, "smoothing": 0, "bar_format": WORK}
            bar = self._bar = tqdm(total=total, desc=LABELS[stage], file=sys.stderr, mininterval=0.3, **options)
        if total is not None and done > total:
            bar.total = done  # it was an estimate
        bar.update(done - bar.n)

    def notice(self, text: str) -> None:
        self.close()
        print(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        """End the bar at work, so that other lines stand alone."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._stage = None, ""

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr)


@contextmanager
def share_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr for work that tells its share done, 0…1."""
    layout = "{l_bar}{bar}| {elapsed}<{remaining}"
    with tqdm(total=100, desc=title, file=sys.stderr, bar_format=layout) as bar:

        def report(share: float) -> None:
            bar.update(100 * share - bar.n)

        yield report
