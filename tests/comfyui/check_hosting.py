"""ComfyUI's real ModelPatcher hosts a restorer on a device beside the CPU, in each of its memory states.

Run by ``tests/comfyui/test_hosting.py`` in a process of its own, with ComfyUI's folder as the first argument. Which
memory there is on a device that is none can't be asked of it, so that is told; everything else is ComfyUI's own.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import weakref
from pathlib import Path

from tests.core.bfvr_stc.drawn import narrow_codeformer
from tests.other_device import DEVICE, OnDevice, other_device
from tests.tiny import wan_layout

sys.path.insert(0, sys.argv[1])  # after this repository's own, as both have a package called tests
import comfy.options

comfy.options.enable_args_parsing()
arguments, sys.argv = sys.argv[2:], [sys.argv[0], "--cpu"]

import comfy.model_management as management  # noqa: E402
import torch  # noqa: E402

from vividface_core.restorers.base import Restorer, module_bytes  # noqa: E402
from vividface_core.restorers.codebook import CodebookRestorer  # noqa: E402
from vividface_core.wan.optimizations.memory_estimate import SCRATCH  # noqa: E402

PACK = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
sys.modules["pack"] = importlib.util.module_from_spec(spec)  # ComfyUI has a module called nodes itself
spec.loader.exec_module(sys.modules["pack"])
ManagedRestorer = importlib.import_module("pack.nodes.bridge.managed_restorer").ManagedRestorer

State = management.VRAMState


class Meter:
    """Bytes that tensors hold on the device, and their peak."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._held: dict[int, int] = {}

    def add(self, tensor: OnDevice) -> None:
        storage = tensor.inner.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not self._held.get(place):
            self.now += size
            self.peak = max(self.peak, self.now)
        self._held[place] = self._held.get(place, 0) + 1
        weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self._held[place] -= 1
        if not self._held[place]:
            self.now -= size


METER = Meter()
made = OnDevice.__new__


def counted(cls, inner):
    tensor = made(cls, inner)
    tensor.inner = inner
    METER.add(tensor)
    return tensor


OnDevice.__new__ = staticmethod(counted)


def on_device(module: torch.nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t.data, OnDevice) or isinstance(t, OnDevice))


def restored(state: State, free: int, clip: torch.Tensor, keep: bool, restorer: Restorer) -> dict:
    """One restoration in one state of ComfyUI's memory; ``free``: bytes of the device."""

    def left(device: torch.device | None = None, torch_free_too: bool = False):
        bytes_left = max(0, free - METER.now)
        return (bytes_left, 0) if torch_free_too else bytes_left

    management.vram_state, management.get_free_memory = state, left
    management.minimum_inference_memory = management.extra_reserved_memory = lambda: 0
    managed = ManagedRestorer(restorer, "test", DEVICE, torch.device("cpu"), keep=keep)
    denoiser = managed.host.patchers["denoiser"].model
    seen, resident = set(), []

    def look(layer: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        seen.add((given[0].device.type, layer.weight.device.type))
        resident.append(on_device(denoiser))

    watched = [layer for block in restorer.denoiser.blocks for layer in (block.to_q, block.up, block.down)]
    hooks = [layer.register_forward_pre_hook(look) for layer in watched]
    before = METER.peak = METER.now
    with other_device():
        result = restorer.restore(clip)
    for hook in hooks:
        hook.remove()
    shared, work = restorer._work_bytes(len(clip), *clip.shape[2:])
    facts = {
        "seen": sorted(map(list, seen)),
        "resident": max(resident),
        "peak": METER.peak - before,
        "stages": {name: module_bytes(module) for name, module in restorer.modules.items()},
        "work": shared - SCRATCH + max(work.values()),  # no library sets memory aside here
        "ram": managed.get_ram_usage(),
        "kept": METER.now - before,
    }
    management.free_memory(1e30, DEVICE)
    return facts | {"left": METER.now - before, "result": result}


def dynamic_vram_known() -> bool:
    """Whether this ComfyUI has Dynamic VRAM. Its driver needs a real device; what ComfyUI does otherwise when it is on
    can be seen without."""
    try:
        importlib.import_module("comfy.memory_management")
    except ImportError:
        return False
    return hasattr(comfy.memory_management, "aimdo_enabled")


def codebook(state: State, clip: torch.Tensor) -> dict:
    """The other system, none of whose stages is streamed."""
    management.vram_state, management.get_free_memory = state, lambda *_, **more: (1 << 40, 0) if more else 1 << 40
    restorer = CodebookRestorer(narrow_codeformer("frames"), native_size=64, native_frames=8)
    wanted, seen = restorer.restore(clip), set()
    managed, before = ManagedRestorer(restorer, "test", DEVICE, torch.device("cpu")), METER.now
    for part in (restorer.net.encoder, restorer.net.generator):
        for layer in part.modules():
            layer.register_forward_pre_hook(lambda _, given: seen.update((one.device.type, "") for one in given[:1]))
    with other_device():
        result = restorer.restore(clip)
    management.free_memory(1e30, DEVICE)
    stages = {name: module_bytes(module) for name, module in restorer.modules.items()}
    error, left = float((result - wanted).abs().max()), METER.now - before
    return {
        "seen": sorted(map(list, seen)),
        "error": error,
        "left": left,
        "ram": managed.get_ram_usage(),
        "stages": stages,
    }


def main() -> None:
    torch.manual_seed(1)
    huge, answers = 1 << 40, {}
    small = wan_layout()
    large = wan_layout(heads=12, inner=8960)  # the denoiser with 1.3 billion weights, but for the number of its blocks
    clips = {small: torch.rand(1, 3, 64, 64), large: torch.rand(5, 3, 64, 64)}
    plain = {restorer: restorer.restore(clip) for restorer, clip in clips.items()}
    tight = 7 << 20  # ComfyUI fills two fifths of it with weights, whatever else is needed
    cases = {
        "normal": (State.NORMAL_VRAM, huge, True, small),
        "low": (State.LOW_VRAM, huge, True, small),
        "partial": (State.NORMAL_VRAM, tight, True, small),
        "partial low": (State.LOW_VRAM, tight, True, small),
        "no": (State.NO_VRAM, huge, True, small),
        "high": (State.HIGH_VRAM, huge, True, small),
        "offload": (State.NORMAL_VRAM, huge, False, small),
        "large": (State.NORMAL_VRAM, huge, False, large),
        "large no": (State.NO_VRAM, huge, True, large),
    }
    for name, case in cases.items():
        facts = restored(*case[:2], clips[case[-1]], *case[2:])
        facts["error"] = float((facts.pop("result") - plain[case[-1]]).abs().max())
        answers[name] = facts
    if dynamic_vram_known():
        comfy.memory_management.aimdo_enabled = True
        facts = restored(State.NORMAL_VRAM, tight, clips[small], True, small)
        facts["error"] = float((facts.pop("result") - plain[small]).abs().max())
        answers["dynamic"] = facts
        comfy.memory_management.aimdo_enabled = False
    for name, state in (("codebook", State.NORMAL_VRAM), ("codebook no", State.NO_VRAM)):
        answers[name] = codebook(state, clips[small])
    print("ANSWER" + json.dumps(answers))


if __name__ == "__main__":
    main()
