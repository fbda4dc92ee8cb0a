"""The judge's work on one clip."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.curation.dataset import candidate_path
from training.curation.record_store import RecordStore, digest_of
from training.curation.stages import fault_of
from vividface_core.errors import VividFaceError
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.judges.factory import JudgeOptions, make_judge
from vividface_core.mllm.judges.http import Refused
from vividface_core.mllm.scoring import FATAL_STATUS, judge_id, pop_notices
from vividface_core.runtime.engines.base import Item, Result, Worker

_judges: dict[str, tuple[Judge, list[str]]] = {}
_lock = threading.Lock()


def shared_judge(names: Sequence[str], options: JudgeOptions) -> tuple[Judge, list[str]]:
    """One judge for all threads of a process, and what it had to say when it was made: a model is loaded once, and a
    server's limits hold for all threads together.

    Raises:
        VividFaceError: see :func:`~vividface_core.mllm.judges.factory.make_judge`.
    """
    name = repr((tuple(names), options))
    with _lock:
        if name not in _judges:
            _judges.clear()  # another model's weights would only lie about
            _judges[name] = make_judge(names, options)
        return _judges[name]


def release_judge() -> None:
    """Make this process's judge give up what it has in hand, and let go of its model."""
    with _lock:
        for judge, _ in _judges.values():
            judge.stopped.set()
        _judges.clear()


def judge_stage(judge: str, rubric: str) -> str:
    """Where the judgements of a judge by a rubric are kept."""
    return f"judge-{digest_of([judge, rubric])}"


@dataclass(frozen=True)
class ResolveIdentity:
    """Tells who the judge is, where only the workers can load it. Item: ``{}``; result: ``{"judge", "name"}``."""

    names: tuple[str, ...]
    options: JudgeOptions

    def __call__(self) -> Worker:
        judge, notices = shared_judge(self.names, self.options)
        return lambda item: {"judge": judge_id(judge.identity), "name": judge.name, "notices": notices}


@dataclass(frozen=True)
class Judging:
    """Judges clips. Item: ``{"key"}``; result: ``{"record", "notices"}`` or ``{"error", "notices"}``.

    Attributes:
        work: folder of the records and the clips.
    """

    work: Path
    stage: str
    names: tuple[str, ...]
    options: JudgeOptions

    def __call__(self) -> Worker:
        judge, _ = shared_judge(self.names, self.options)
        store = RecordStore(self.work)

        def work(item: Item) -> Result:
            key, told = item["key"], {}
            record = store.get(self.stage, key)
            if record is None:
                try:
                    judgement = without_timing(judge.judge(candidate_path(self.work, key)).to_json())
                except VividFaceError as error:
                    if isinstance(error, Refused) and error.status in FATAL_STATUS:
                        raise
                    told["error"] = fault_of(error, self.work)
                else:
                    record = {"judge": judge_id(judge.identity), "judgement": judgement}
                    store.put(self.stage, key, record)
            return {**told, "record": record, "notices": pop_notices(judge)}

        return work


def without_timing(judgement: dict[str, Any]) -> dict[str, Any]:
    """Without how long it took, a panel's members included: all else is the same when it is judged again."""
    kept = {name: value for name, value in judgement.items() if name != "seconds"}
    return {**kept, "members": [without_timing(member) for member in judgement["members"]]}
