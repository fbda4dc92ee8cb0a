"""The contract of a restorer: a clip in, a restored clip of the same size out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, InvalidOutput, OutOfMemory
from vividface_core.restorers.hosting import Host
from vividface_core.restorers.lengths import ClipLengths

RESTORE, DEFLICKER_BRIGHTNESS, DEFLICKER_PIXEL = TASKS = "restore", "deflicker brightness", "deflicker pixel"
"""What models are trained for."""
Progress = Callable[[float], None]
"""Called with the share done of the current clip (0…1). May raise to stop the run."""


class Restorer(ABC):
    """A system that restores a clip.

    A restorer never sees a file, a face box or ComfyUI. Frames are ``Tensor[T, 3, H, W]``, float32, RGB, 0…1;
    a model's own range (−1…1 for Wan) exists only inside.
    """

    name: ClassVar[str]
    valid_lengths: ClipLengths = ClipLengths()
    """Native clip lengths; others are padded inside and cut again."""
    size_multiple: int = 1
    """Native heights and widths are multiples of this; others are padded inside and cut again."""
    native_size: int = 512
    """Side in pixels of the square face crop the system was trained on."""
    native_frames: int = 81
    """Clip length the system was trained on; longer clips are cut into windows of at most this."""
    color_default: str = "wavelet"
    """Colour match of a face where none is asked for: ``wavelet``, ``lab``, ``adain`` or ``none``."""
    tasks: tuple[str, ...] = (RESTORE,)
    """What it was trained for: of :data:`TASKS`."""
    steps: int | None = 1
    """Evaluations of the network for a clip; ``None``: there is no such count."""
    parallel: int = 0
    """Clips that may be at work while the result of an earlier one is waited for."""
    host: Host | None = None
    """Places the modules, a stage at a time; ``None``: they stay where :meth:`to` has put them."""
    takes_host: ClassVar[bool] = False
    """Whether :attr:`host` is asked before each stage; where it isn't, a host places all modules beforehand."""

    @abstractmethod
    def restore(
        self,
        clip: Tensor,
        *,
        mask: Tensor | None = None,
        strength: float = 1.0,
        progress: Progress | None = None,
    ) -> Tensor:
        """Restore one clip.

        Args:
            clip: ``[T, 3, H, W]``, float32, RGB, 0…1, any T ≥ 1 and any size, on any device.
            mask: ``[T, 1, H, W]``, 0…1, 1 = restore here; ``None`` restores everywhere.
            strength: 0 returns the clip itself, 1 the full result; linear between the two.
            progress: see :data:`Progress`.

        Returns:
            A clip of the same shape, device and type.

        Raises:
            InvalidOutput: the model made NaN or infinite values.
        """

    def submit(self, clip: Tensor, progress: Progress | None = None) -> Callable[[], Tensor]:
        """Start restoring a clip on any device; the returned function waits for the result.

        This default restores the clip before it returns.
        """
        restored = self.restore(clip.to(self.device), progress=progress)
        return lambda: restored

    def drop(self) -> None:
        """Let go of clips that were submitted and that nobody will ask for."""
        return None

    def reduce_memory(self) -> str:
        """Need less memory from now on, with the same result.

        Returns:
            A description for the user; empty if nothing more can be reduced.
        """
        return ""

    def restore_defaults(self) -> None:
        """Undo :meth:`reduce_memory`."""
        return None

    def share_window(self) -> None:
        """Within a process group: share the work on each clip with the other processes from now on.

        Raises:
            InvalidOption: this restorer's work can't be shared.
        """
        raise InvalidOption(f"One window can't be shared by several devices with {self.name}; leave out --together.")

    def close(self) -> None:
        """Release processes and other resources. The restorer can't be used afterwards."""
        return None

    @property
    def timed_as(self) -> Any:
        """What a measured speed belongs to: restorers that share it are equally fast."""
        return self

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters and buffers of the sub-modules."""
        return sum(map(module_bytes, self.modules.values()))

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights that are on the device at once."""
        if self.host is None:
            return self.weight_bytes
        return self.host.resident_bytes({name: module_bytes(module) for name, module in self.modules.items()})

    @abstractmethod
    def memory_for(self, frames: int, height: int, width: int) -> int:
        """Estimate the peak bytes on the device, weights included, for a clip of this size."""

    @property
    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Sub-modules by name (``encoder``, ``denoiser``, ``decoder``), so that a host can place each in turn."""

    @abstractmethod
    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Restorer:
        """Move all sub-modules; returns self."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the next clip is computed."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the weights and the computation."""


PROPERTIES = (
    "name",
    "valid_lengths",
    "size_multiple",
    "native_size",
    "native_frames",
    "color_default",
    "tasks",
    "steps",
)
"""What a restorer tells of its system and checkpoint; one that stands for another tells the other's."""


def stand_for(restorer: Restorer, properties: Mapping[str, Any]) -> None:
    """Let ``restorer`` tell another one's :data:`PROPERTIES`."""
    for name in PROPERTIES:
        setattr(restorer, name, properties[name])


def properties_of(restorer: Restorer) -> dict[str, Any]:
    """A restorer's :data:`PROPERTIES` by name."""
    return {name: getattr(restorer, name) for name in PROPERTIES}


OOM_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
"""Messages of allocators and libraries that have no exception type for out-of-memory errors."""


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers: compact weights and folded constants are buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in [*module.parameters(), *module.buffers()])


@contextmanager
def translate_oom(clip: Tensor, device: torch.device) -> Iterator[None]:
    """Translate torch's out-of-memory errors into :class:`~vividface_core.errors.OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(words in str(error) for words in OOM_MESSAGES):
            raise
        frames, _, height, width = clip.shape
        raise OutOfMemory(
            f"{frames} frames of {width}×{height} do not fit the memory of {device}. Take a shorter window or a "
            "smaller size, or another device."
        ) from error


def check_request(clip: Tensor, mask: Tensor | None, strength: float) -> None:
    """Raises InvalidOption unless these are a clip, a mask for it and a strength; see :meth:`Restorer.restore`."""
    if clip.ndim != 4 or clip.shape[1] != 3 or not clip.numel():
        raise InvalidOption(f"A clip is [frames, 3, height, width], at least one frame; this is {list(clip.shape)}.")
    if not 0 <= strength <= 1:
        raise InvalidOption(f"strength is {strength}; it goes from 0 (source) to 1 (fully restored).")
    wanted = (clip.shape[0], 1, *clip.shape[2:])
    if mask is not None and tuple(mask.shape) != wanted:
        raise InvalidOption(f"The mask is {list(mask.shape)}; this clip needs {list(wanted)}.")


def check_finite(x: Tensor, stage: str) -> Tensor:
    """Returns ``x``; raises InvalidOutput if what ``stage`` made holds NaN or infinite values."""
    if not torch.isfinite(x).all():
        raise InvalidOutput(
            f"The {stage} made NaN or infinite values, so nothing is written. The input may hold NaN, the checkpoint "
            "may be damaged (fetch it again), or the number type may be too narrow (try fp32)."
        )
    return x
