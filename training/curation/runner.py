"""The stages of a curation one after the other, on whatever engine: what an earlier run has done isn't done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

from training.curation.dataset import DataSet
from training.curation.decisions import Findings, Policy, Row, Video, rows_of, screened, to_judge, to_measure
from training.curation.judging import Judging
from training.curation.record_store import known_content
from training.curation.stages import Cutting, Measuring, Recipe, measured
from vividface_core.mllm.scoring import pop_notices
from vividface_core.runtime.engines.base import Engine, Item, Result, Worker

GROUP = 8
"""Neighbouring candidates of a video that are measured by one worker: few enough to spread a long film over many."""


class CurationCallbacks(Protocol):
    """Is told how it goes."""

    def begin(self, what: str, unit: str, total: int, done: int) -> None:
        """A stage begins; ``done`` of ``total`` are there from earlier runs."""

    def step(self, count: int) -> None:
        """So many more are done."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""


class CurationRunner:
    """One run.

    Args:
        data: where everything goes.
        recipe: how candidates are cut and measured.
        engine: what does the work.
    """

    def __init__(self, data: DataSet, recipe: Recipe, engine: Engine, callbacks: CurationCallbacks) -> None:
        self.data, self.recipe, self.engine, self.callbacks = data, recipe, engine, callbacks
        self.found = Findings()
        self._store = recipe.store

    def cut(self, names: Sequence[str]) -> list[Video]:
        """Find the candidates of all videos. A video that fails is told, and tried again by the next run."""
        known = {name: video for name in names if (video := self._known(name))}
        self.callbacks.begin("Cutting", "video", len(names), len(known))
        for item, result in self._work(Cutting(self.recipe), [{"video": n} for n in names if n not in known]):
            name, content, error = item["video"], result["content"], result.get("error", "")
            if error:
                known[name] = Video(name, self.recipe.video_id(name, content), content, None, error)
                self.callbacks.notice(error if name in error else f"{name}: {error}")
            else:
                known[name] = Video(name, result["id"], content, result["record"])
            self.callbacks.step(1)
        return [known[name] for name in names]

    def _known(self, name: str) -> Video | None:
        content = known_content(self._store, self.recipe.videos, name)
        if content is None:
            return None
        key = self.recipe.video_id(name, content)
        record = self._store.get(self.recipe.cut_stage, key)
        return Video(name, key, content, record) if record else None

    def measure(self, videos: Iterable[Video], policy: Policy) -> None:
        """Look at the pixels of all candidates that the policy asks about."""
        wanted = list(to_measure(videos, policy))
        known = {clip["key"]: measured(self.recipe, self._store, clip["key"]) for _, clip in wanted}
        self.found.figures.update((key, record) for key, record in known.items() if record)
        missing = [(video, clip) for video, clip in wanted if not known[clip["key"]]]
        self.callbacks.begin("Measuring", "clip", len(wanted), len(wanted) - len(missing))
        for item, result in self._work(Measuring(self.recipe), list(_grouped(missing))):
            for key, error in result["errors"].items():
                self.found.errors[key] = error
                self.callbacks.notice(f"{key}: {error}")
            self.found.figures.update(result["records"])
            self.callbacks.step(len(item["clips"]))

    def waiting(self, videos: Sequence[Video], policy: Policy) -> list[str]:
        """Keys of the clips that go before the judge."""
        return to_judge(videos, screened(videos, self.found, policy))

    def judge(self, keys: Sequence[str], judging: Judging, engine: Engine | None = None, **how: Any) -> None:
        """Have clips judged, each once.

        Args:
            engine: in place of the run's.
            how: for :meth:`~vividface_core.runtime.engines.base.Engine.map`.
        """
        there = {key: record for key in keys if (record := self._store.get(judging.stage, key))}
        self.callbacks.begin("Judging", "clip", len(keys), len(there))
        missing = [{"key": key} for key in keys if key not in there]
        for item, result in self._work(judging, missing, engine, **how):
            key = item["key"]
            for text in result["notices"]:
                self.callbacks.notice(text)
            if error := result.get("error"):
                self.found.errors[key] = error
                self.callbacks.notice(f"{key}: {error}")
            else:
                there[key] = result["record"]
            self.callbacks.step(1)
        self.found.judgements.update(there)

    def _work(
        self, make_worker: Callable[[], Worker], items: Sequence[Item], engine: Engine | None = None, **how: Any
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results, as they are done; what the engine has to tell is told on the way."""
        engine = engine or self.engine
        try:
            yield from engine.map(make_worker, items, **how)
        finally:
            for text in pop_notices(engine):
                self.callbacks.notice(text)

    def rows(self, videos: Sequence[Video], policy: Policy) -> list[Row]:
        """The manifest."""
        return rows_of(videos, self.found, policy)


def _grouped(pairs: Iterable[tuple[Video, Any]]) -> Iterator[Item]:
    for _, same in groupby(pairs, key=lambda pair: pair[0].id):
        group = list(same)
        for start in range(0, len(group), GROUP):
            part = group[start : start + GROUP]
            yield {
                "video": part[0][0].video,
                "id": part[0][0].id,
                "clips": [[clip["key"], clip["shot"]] for _, clip in part],
            }
