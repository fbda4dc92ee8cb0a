"""The training loop: steps, accumulation, averaged weights, states to resume from, and a guard against NaN."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from torch import Tensor, nn
from tqdm import tqdm

from training.config import Config
from training.data.batches import MicroBatches, Samples, make_loader
from training.stages.base import Batch, Stage
from training.trainer.checkpoints import Checkpoints
from training.trainer.ema import EmaWeights
from training.trainer.log import CurveLog
from training.trainer.optimizers import make_optimizer, make_schedule
from training.trainer.sharding import is_sharded, whole_net
from training.trainer.validation import Validation
from vividface_core.errors import Interrupted, InvalidOption, InvalidOutput
from vividface_core.io.tensors import write_tensors
from vividface_core.restorers.registry import Contents
from vividface_core.runtime.devices import pick_device
from vividface_core.weights import where

ONE_REQUEST = 5.0
"""Seconds within which signals to stop are one request: the launcher passes on what its processes got already."""


class Progress:
    """What a state remembers beside tensors."""

    def __init__(self) -> None:
        self.step = self.bad = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step, "bad": self.bad}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step, self.bad = state["step"], state["bad"]


class Trainer:
    """One run of one stage.

    Args:
        resume: go on after the newest state in the run's folder, if there is one.
    """

    def __init__(self, config: Config, stage: Stage, resume: bool = True) -> None:
        self.config, self.stage, self.progress = config, stage, Progress()
        run, optimizer = config.run, config.optimizer
        set_seed(run.seed)
        self.accelerator = _accelerator(config)
        self.order = self._order(0)
        self.accelerator.gradient_accumulation_steps = self.order.accumulation
        stage.to(self.accelerator.device)
        self.optimizers = {
            name: make_optimizer(groups, optimizer, stage.nets[name]) for name, groups in stage.optimizers().items()
        }
        self.schedules = {name: make_schedule(one, optimizer) for name, one in self.optimizers.items()}
        self._prepare()
        self.states = Checkpoints(self.accelerator, state_folder(run.output), run.keep)
        first, *others = self.schedules.values()
        self.accelerator.register_for_checkpointing(first, self.progress)
        if self.ema is not None:
            self.accelerator.register_for_checkpointing(self.ema)
        if others:
            self.accelerator.register_for_checkpointing(*others)
        if resume and self.states.resume():
            self.accelerator.print(f"Going on after step {self.progress.step} of {run.output}")
        self._tell_length()
        self._tell_seed()
        self.log = CurveLog(run.output / "log.jsonl", self.progress.step) if self._leads else None
        self.validation = Validation(config, stage, self.accelerator)
        self._asked_to_stop: float | None = None

    def _tell_length(self) -> None:
        """Say so where the model will be used on longer clips than it sees here."""
        trained, used = self.config.data.frames, getattr(self.config.model, "native_frames", 0)
        if trained and trained < used:
            self.accelerator.print(
                f"Clips have {trained} frames and model.native_frames is {used}: how to restore the later ones is left "
                "to what the model has learned before. 'training.evaluate --levels' shows it under 'last frames'."
            )

    def _tell_seed(self) -> None:
        """Say so where a model that goes on learning would see what it has seen: chance depends on the seed alone."""
        base, seed = getattr(self.config.model, "base", ""), self.config.run.seed
        card = Contents(where(base)).card if base else None
        before = (card or {}).get("training") or {}
        if before.get("seed") == seed and (before.get("data") or {}).get("kind") == self.config.data.kind:
            self.accelerator.print(
                f"model.base was trained with run.seed = {seed} too: on the same data it sees the same clips "
                "again, in the same order. Another run.seed gives others."
            )

    @property
    def _leads(self) -> bool:
        return self.accelerator.is_main_process

    def _order(self, start: int) -> MicroBatches:
        optimizer, accelerator = self.config.optimizer, self.accelerator
        return MicroBatches(
            optimizer.global_batch_size,
            optimizer.micro_batch_size,
            accelerator.process_index,
            accelerator.num_processes,
            start,
            optimizer.steps,
        )

    def _prepare(self) -> None:
        """Wrap net and optimizer for the devices; the averaged weights follow the unwrapped net."""
        accelerator, config = self.accelerator, self.config
        plugin = accelerator.state.deepspeed_plugin if is_sharded(accelerator) else None
        if plugin is not None:
            plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.optimizer.micro_batch_size
        if is_sharded(accelerator) and config.optimizer.name == "muon":
            raise InvalidOption("optimizer.name muon needs whole kernels; with FSDP or DeepSpeed take adamw.")
        if is_sharded(accelerator) and len(self.stage.nets) > 1:
            raise InvalidOption(f"Stage {config.stage} trains several nets in turns; FSDP and DeepSpeed can't do that.")
        self.nets: dict[str, nn.Module] = {}
        for name, net in self.stage.nets.items():
            self.nets[name], self.optimizers[name] = accelerator.prepare(net, self.optimizers[name])
        self.net = next(iter(self.nets.values()))
        self.ema = EmaWeights(self.net, config.optimizer.ema) if config.optimizer.ema else None
        self._loss = torch.compile(self.stage.turn_loss, dynamic=False) if config.run.compile else self.stage.turn_loss

    def run(self) -> None:
        """Train to the last step, then save the state and the averaged weights.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the state is saved.
            InvalidOutput: too many non-finite batches in a row.
        """
        run, steps = self.config.run, self.config.optimizer.steps
        samples = Samples(self.stage.source(validation=False), run.seed)
        loader = make_loader(samples, self._order(self.progress.step), self.config.data.workers)
        bar = tqdm(total=steps, initial=self.progress.step, unit="step", disable=not self._leads)
        with self._trackers(), self._watch_signals():
            batches = iter(loader)
            while self.progress.step < steps:
                began = time.perf_counter()
                self.stage.begin_step(self.progress.step + 1)
                parts = self._step(batches)
                bar.update()
                self._report(parts, time.perf_counter() - began, bar)
                if self._stop_wanted():
                    self.states.save(self.progress.step)
                    raise Interrupted(f"Stopped after step {self.progress.step}; run the same command to go on.")
                self._due()
            self.finish()

    def _step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """One step of every net, on the same micro-batches; the means of the losses' parts, empty if it was skipped."""
        sums: dict[str, Tensor] = {}
        micro: Iterable[Batch] = (next(batches) for _ in range(self.order.accumulation))
        if len(self.nets) > 1:
            micro = list(micro)
        finite = True
        for turn in self.nets:
            if not finite:
                break
            with self._acting(turn) as nets:
                parts, finite = self._gradients(turn, nets, micro)
                self._move(turn, finite)
            sums |= parts if turn == next(iter(self.nets)) else {f"{turn}_{name}": x for name, x in parts.items()}
        self._count(finite)
        return sums if finite else {}

    @contextmanager
    def _acting(self, turn: str) -> Iterator[dict[str, nn.Module]]:
        """All nets as they run while one of them learns: only that one is wrapped for the devices, and has gradients
        for its weights."""
        others = {
            name: self.accelerator.unwrap_model(net, keep_torch_compile=False)
            for name, net in self.nets.items()
            if name != turn
        }
        frozen = [p for net in others.values() for p in net.parameters() if p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield {**others, turn: self.nets[turn]}
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    def _gradients(
        self, turn: str, nets: dict[str, nn.Module], micro: Iterable[Batch]
    ) -> tuple[dict[str, Tensor], bool]:
        """One net's gradient over all micro-batches, clipped: the means of its loss's parts, and whether all was
        finite."""
        sums: dict[str, Tensor] = {}
        net, finite = self.nets[turn], True
        for batch in micro:
            if not finite:
                continue
            batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
            with self.accelerator.accumulate(net):
                with self.accelerator.autocast():
                    parts = self._loss(turn, nets, batch)
                finite = self._all_finite(parts["loss"])
                if not finite:
                    self._keep_bad(batch, parts["loss"])
                    continue
                self.accelerator.backward(parts["loss"])
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0) + value.detach() / self.order.accumulation
        if finite:
            norm = self.accelerator.clip_grad_norm_(net.parameters(), self.config.optimizer.max_grad_norm)
            sums["gradient_norm"] = torch.as_tensor(0.0 if norm is None else norm)
            # In fp16 an overflow is everyday: the scaler itself skips the step and scales down.
            finite = self.accelerator.scaler is not None or bool(torch.isfinite(sums["gradient_norm"]))
            if not finite:
                self._keep_bad(batch, sums["gradient_norm"])
        return sums, finite

    def _move(self, turn: str, finite: bool) -> None:
        """Let a net's weights follow its gradient, unless it isn't one."""
        if finite:
            self.optimizers[turn].step()
        # Not through the optimizer: in the middle of an accumulation Accelerate's would keep the gradients.
        for parameter in self.nets[turn].parameters():
            parameter.grad = None
        # An interrupted accumulation must not leave half a count behind.
        self.accelerator.step = 0
        if self.ema is not None and finite and turn == next(iter(self.nets)):
            self.ema.step()

    def _count(self, finite: bool) -> None:
        """A step is over: schedules go on, and too many bad ones in a row end the run."""
        if finite:
            self.progress.bad = 0
        else:
            self.progress.bad += 1
            self.accelerator.print(f"Step {self.progress.step + 1} is skipped: NaN or infinite values")
        for schedule in self.schedules.values():
            schedule.step()
        self.progress.step += 1
        if self.progress.bad >= self.config.run.bad_batches:
            raise InvalidOutput(
                f"{self.progress.bad} steps in a row gave NaN or infinite values, the last one step "
                f"{self.progress.step}. The batches lie in {self.config.run.output / 'bad_batches'}; the newest state "
                "is from before. Go on with a lower optimizer.lr or run.precision 'no'."
            )

    def _all_finite(self, loss: Tensor) -> bool:
        """Whether no process has a NaN: all of them skip a step, or none."""
        fault = (~torch.isfinite(loss.detach())).float().reshape(1)
        return float(self.accelerator.reduce(fault, "sum")) == 0

    def _keep_bad(self, batch: Batch, value: Tensor) -> None:
        """Save the batch of each process that is at fault, to look into."""
        if torch.isfinite(value):
            return
        folder = self.config.run.output / "bad_batches"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"step{self.progress.step + 1:06d}-process{self.accelerator.process_index}.safetensors"
        write_tensors(folder / name, {key: value.cpu().contiguous() for key, value in batch.items()})

    def _report(self, parts: dict[str, Tensor], seconds: float, bar: tqdm) -> None:
        step, run = self.progress.step, self.config.run
        if not parts or (step % run.log_every and step != 1):
            return
        means = {name: float(value) for name, value in self._mean(parts).items()}
        entry = {**means, "rate": next(iter(self.schedules.values())).get_last_lr()[-1], "seconds": seconds}
        self.accelerator.log(entry, step=step)
        if self.log is not None:
            self.log.write({"step": step, **entry})
            bar.set_postfix(loss=f"{means['loss']:.4g}")

    def _mean(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Over the processes."""
        values = torch.stack([value.float().reshape(()).to(self.accelerator.device) for value in parts.values()])
        return dict(zip(parts, self.accelerator.reduce(values, "mean")))

    def _due(self) -> None:
        step, run = self.progress.step, self.config.run
        last = step == self.config.optimizer.steps
        if run.validate_every and step % run.validate_every == 0 and not last:
            self.validate()
        if step % run.checkpoint_every == 0 and not last:
            self.states.save(step)
            self.save_model()

    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on the validation clips, log it, and save pictures."""
        with self._averaged():
            figures = self.validation(self.progress.step)
        self.accelerator.log(figures, step=self.progress.step)
        if self.log is not None:
            self.log.write({"step": self.progress.step, **figures})
        return figures

    def save_model(self) -> None:
        """Write ``model/`` from the averaged weights."""
        with self._averaged():
            net = whole_net(self.accelerator, self.net, self.stage)
            if self._leads:
                self.stage.save(self.config.run.output / "model", net, {"steps": self.progress.step})
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Save everything at the end of a run."""
        figures = self.validate() if self.config.run.validate_every else {}
        self.states.save(self.progress.step)
        self.save_model()
        if figures:
            self.accelerator.print("  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.applied()

    @contextmanager
    def _trackers(self) -> Iterator[None]:
        values = {key: str(value) for key, value in _flat(self.config.model_dump()).items()}
        self.accelerator.init_trackers(self.config.stage, values)
        try:
            yield
        finally:
            self.accelerator.end_training()

    def _stop_wanted(self) -> bool:
        """Whether any process was asked to stop; all agree on the step."""
        flag = torch.tensor([float(self._asked_to_stop is not None)], device=self.accelerator.device)
        return float(self.accelerator.reduce(flag, "sum")) > 0

    @contextmanager
    def _watch_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step that is under way; another one, seconds later, at once."""

        def note(number: int, _: Any) -> None:
            now = time.monotonic()
            self._asked_to_stop = self._asked_to_stop or now
            if now - self._asked_to_stop > ONE_REQUEST:
                raise KeyboardInterrupt

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _accelerator(config: Config) -> Accelerator:
    run: Any = config.run
    accelerator = Accelerator(
        # Accelerate joins processes without an accelerator only where it is told to compute on the CPU.
        cpu=pick_device().type == "cpu",
        mixed_precision=run.precision,
        log_with=list(run.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(run.output), logging_dir=str(run.output / "trackers")),
        step_scheduler_with_optimizer=False,
    )
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != accelerator.num_processes:
        # Each would train alone, and all would write into one folder.
        raise InvalidOption(
            f"{started} processes were started and Accelerate joins {accelerator.num_processes}: check its "
            "configuration (training/configs/accelerate/)."
        )
    return accelerator


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def state_folder(output: Path) -> Path:
    """Where a run's states lie."""
    return output / "states"
