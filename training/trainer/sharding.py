"""Nets whose weights are spread over processes, as FSDP and DeepSpeed do it."""

from __future__ import annotations

from accelerate import Accelerator, DistributedType
from torch import nn

from training.stages.base import Stage


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether a process may hold only a part of each weight, so that all must run the net together."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def whole_net(accelerator: Accelerator, net: nn.Module, stage: Stage) -> nn.Module:
    """The unwrapped net with all its weights, to be saved by the main process; every process must call this."""
    plain = accelerator.unwrap_model(net, keep_torch_compile=False)
    if not is_sharded(accelerator):
        return plain
    state = accelerator.get_state_dict(net)
    if not accelerator.is_main_process:
        return plain
    whole = type(stage)(stage.config).net
    whole.load_state_dict(state)
    return whole
