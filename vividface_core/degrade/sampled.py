"""One clip's degradation: its drawn values, on tensors and in a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vividface_core.degrade.filters import resize
from vividface_core.degrade.footage import grey_of
from vividface_core.degrade.parameters import Range, Value
from vividface_core.degrade.steps import STEPS
from vividface_core.errors import InvalidOption


@dataclass(frozen=True)
class SampledDegradation:
    """What one clip goes through. Equal ones do the same to equal frames, in any process.

    The bits are the same on all x86 processors with AVX2; on others the arithmetic before the codec may differ in
    its last bit.

    Attributes:
        preset: where it comes from.
        steps: names out of :data:`~vividface_core.degrade.steps.STEPS`, in their order.
        seed: of what is drawn for each frame.
        values: by parameter; a :class:`~vividface_core.degrade.parameters.Range` is drawn from in each frame anew.
    """

    preset: str
    steps: tuple[str, ...]
    seed: int
    values: Mapping[str, float | int | str | Value]

    def stream(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Degrade frames ``[3, H, W]`` of one size, 0…1, one for one; the results have the same size.

        Memory doesn't grow with their number. A codec looks ahead: the first result may come after some fifty frames.
        """
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            return
        height, width = first.shape[-2:]
        size, number = (height, width), 0
        flow: Iterator[Tensor] = (frame[None] for frame in chain((first,), frames))
        for name in self.steps:
            step = STEPS[name]
            number += step.random
            flow = step.run(flow, self.values, np.random.default_rng((self.seed, number)), size)
        for frame in flow:
            yield resize(frame, *size)[0]

    def __call__(self, clip: Tensor, report: Callable[[int, int], None] | None = None) -> Tensor:
        """Degrade ``[T, 3, H, W]``, 0…1; the result has the same shape.

        Args:
            report: ``report(done, total)`` frames handed over and back, counted together; may raise to stop.
        """
        result, fed, total = torch.empty_like(clip, memory_format=torch.contiguous_format), 0, 2 * len(clip)

        def frames() -> Iterator[Tensor]:
            nonlocal fed
            for fed, frame in enumerate(clip, 1):
                yield frame
                if report is not None:
                    report(fed + made, total)

        made = 0
        for made, frame in enumerate(self.stream(frames()), 1):
            result[made - 1] = frame
            if report is not None:
                report(fed + made, total)
        if made != len(clip):
            raise RuntimeError(f"{len(clip)} frames went in, {made} came out")
        return result

    def truth(self, clip: Tensor) -> Tensor:
        """What a perfect restoration of the degraded ``clip`` is: the clip, in grey where the degradation took its
        colours, which nothing can tell."""
        return grey_of(clip) if "grey" in self.steps else clip

    @property
    def notices(self) -> list[str]:
        """What a user may not expect of these values."""
        if "codec" in self.steps and self.values["codec"] == "mpeg4":
            return [
                f"mpeg4 ignores crf: its quality follows bitrate ({self.values['bitrate']} kbit a frame). "
                "Set codec=libx264 for a crf that counts."
            ]
        return []

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record: ``drawn`` once for the clip, ``each_frame`` drawn from for each frame."""
        each = {name: [value.low, value.high] for name, value in self.values.items() if isinstance(value, Range)}
        drawn = {name: value for name, value in self.values.items() if name not in each}
        return {"preset": self.preset, "seed": self.seed, "steps": list(self.steps), "drawn": drawn, "each_frame": each}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SampledDegradation:
        """The degradation of a record.

        Raises:
            InvalidOption: it is no such record.
        """
        try:
            each = {name: Range(*ends) for name, ends in record["each_frame"].items()}
            steps = tuple(record["steps"])
            wanted = {name for step in steps for name in STEPS[step].values}
            values = {**record["drawn"], **each}
            if wanted - set(values):
                raise KeyError(min(wanted - set(values)))
            return cls(str(record["preset"]), steps, int(record["seed"]), values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidOption(f"This is no record of a degradation ({type(error).__name__}: {error}).") from error
