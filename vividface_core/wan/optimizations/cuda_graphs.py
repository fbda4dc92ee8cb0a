"""A pass of the denoiser recorded once and replayed, where a CUDA device gets the same size again and again.

A recording spares the processor the launching of some thousand kernels. That shows where they are short: small sizes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, first_line
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.injection import Injection

log = logging.getLogger(__name__)
Pass = Callable[..., Tensor]
"""Called as a :class:`FoldedDenoiser`: with the latent, ``on_block`` and ``injections``."""


class GraphedDenoiser:
    """Calls a denoiser; from the second pass of one size on, through a CUDA graph.

    A graph holds addresses: it is thrown away when the size, or the place of any weight, is another one, as after a
    host has moved the module. The memory of a pass stays with it.

    Args:
        denoiser: whose weights are watched.
        run: a pass of it, the compiled one for example; ``None``: its own.
    """

    def __init__(self, denoiser: FoldedDenoiser, run: Pass | None = None) -> None:
        self._denoiser, self._run = denoiser, run or denoiser
        self._key: tuple[int, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._output = torch.empty(0)
        self._works = True

    def __call__(
        self, latent: Tensor, on_block: Callable[[int], None] | None = None, injections: Sequence[Injection] = ()
    ) -> Tensor:
        """As :meth:`~vividface_core.wan.folded_transformer.FoldedDenoiser.forward`; a replay tells of all blocks at
        once."""
        weight = self._denoiser.patch_embedding.weight
        if not self._works or weight.device.type != "cuda":
            return self._run(latent, on_block, injections=injections)
        weights = [*self._denoiser.parameters(), *self._denoiser.buffers()]
        weights += [tensor for one in injections for tensor in one.weights]
        key = (*latent.shape, *(tensor.data_ptr() for tensor in weights))
        if key != self._key:
            # The first pass of a size chooses kernels and fills tables, which a recording may not do.
            self._key, self._graph, self._inputs, self._output = key, None, [], torch.empty(0)
            return self._run(latent, on_block, injections=injections)
        inputs = [latent.to(weight.device, weight.dtype), *(tensor for one in injections for tensor in one.tensors)]
        graph = self._record(inputs, injections) if self._graph is None else self._graph
        if graph is None:
            return self._run(latent, on_block, injections=injections)
        for kept, given in zip(self._inputs, inputs):
            kept.copy_(given)
        graph.replay()
        if on_block is not None:
            on_block(len(self._denoiser.blocks))
        return self._output.clone()

    def _record(self, inputs: Sequence[Tensor], injections: Sequence[Injection]) -> torch.cuda.CUDAGraph | None:
        self._inputs, graph = [tensor.clone() for tensor in inputs], torch.cuda.CUDAGraph()
        latent, rest = self._inputs[0], iter(self._inputs[1:])
        kept = [one.with_tensors([next(rest) for _ in one.tensors]) for one in injections]
        try:
            with torch.cuda.graph(graph):
                self._output = self._run(latent, None, injections=kept)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._works = False
            told = first_line(error)
            log.warning("The denoiser could not be recorded and runs as it is, with the same result: %s", told)
            return None
        self._graph = graph
        return graph


def check_graphs(device: torch.device) -> None:
    """Raises InvalidOption unless the device records graphs."""
    if device.type != "cuda":
        raise InvalidOption(f"CUDA graphs need a CUDA device; this is {device}. Leave them out.")
