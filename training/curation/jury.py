"""Who judges the clips of a data set: made once, where it is needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.curation.dataset import DataSet
from training.curation.decisions import Policy
from training.curation.engines.base import Engine
from training.curation.engines.local import LocalEngine
from training.curation.judging import Judging, ResolveIdentity, judge_stage, shared_judge
from training.curation.record_store import digest_of
from training.curation.runner import CurationCallbacks, CurationRunner
from vividface_core.cli.score import judge_options
from vividface_core.mllm.records import judge_id

INTRODUCTIONS = "judges"
"""Records of who a model on this machine turned out to be, by its options."""


class JudgeRunner:
    """Who judges.

    Args:
        policy: its rubric and calibration are the judge's too.

    Attributes:
        stage: where its judgements are kept; known once it is introduced.
        name: for people.
    """

    def __init__(self, args: argparse.Namespace, policy: Policy) -> None:
        self.names, self.options = tuple(args.judge), judge_options(args, policy.rubric)
        self._engine, self._gpus, self._policy = args.engine, args.judge_gpus, policy
        self.stage = self.name = ""

    def resolve_identity(self, engine: Engine, data: DataSet, callbacks: CurationCallbacks) -> None:
        """Find out who it is. A model on this machine is loaded for that once, and never if all clips are judged.

        Raises:
            VividFaceError: it can't be made, or the calibration is another one's.
        """
        models = any(name.startswith("local:") for name in self.names)
        key = digest_of([self._engine, list(self.names), repr(self.options)])
        known = data.store.get(INTRODUCTIONS, key) if models else None
        if known is None and models and self._engine != "local":
            (_, known), = engine.map(ResolveIdentity(self.names, self.options), [{}], gpus=self.gpus, processes=1)
        if known is None:
            judge, notices = shared_judge(self.names, self.options)
            known = {"judge": judge_id(judge.identity), "name": judge.name, "notices": notices}
        if models:
            data.store.put(INTRODUCTIONS, key, {**known, "notices": []})
        for notice in known["notices"]:
            callbacks.notice(notice)
        rubric = self._policy.rubric.version
        if self._policy.calibration is not None:
            self._policy.calibration.correct(0.0, rubric=rubric, judge=known["judge"])  # it fits, said before the work
        self.stage, self.name = judge_stage(known["judge"], rubric), known["name"]

    @property
    def gpus(self) -> float:
        """That a process with this judge needs."""
        models = any(name.startswith("local:") for name in self.names)
        return self._gpus if self._gpus is not None else float(models and self.options.device != "cpu")

    def judge(self, curation: CurationRunner, keys: Sequence[str]) -> None:
        """See :meth:`~training.curation.runner.CurationRunner.judge`."""
        judging = Judging(curation.recipe.work, self.stage, self.names, self.options)
        servers, models = (any(name.startswith(kind) for name in self.names) for kind in ("openai:", "local:"))
        if servers and not models:
            # The key is here, a server's limits hold for a process, and asking is waiting: other machines don't help.
            concurrency = shared_judge(self.names, self.options)[0].concurrency
            curation.judge(keys, judging, LocalEngine(), concurrency=concurrency)
        else:
            curation.judge(keys, judging, gpus=self.gpus, processes=1 if servers else None)
