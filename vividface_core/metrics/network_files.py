"""Published weights into our own networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint


def fill_known(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load what ``net`` has a place for; files hold more, a classifier's head, say.

    Raises:
        UnsupportedCheckpoint: something is missing or has another shape.
    """
    own = net.state_dict()
    # A counter that only training looks at; some files lack it.
    known = {key: state.get(key, value if key.endswith("num_batches_tracked") else None) for key, value in own.items()}
    lost = [key for key, value in known.items() if value is None or value.shape != own[key].shape]
    if lost:
        raise UnsupportedCheckpoint(
            f"{path} holds other weights than {type(net).__name__}'s: {len(lost)} of {len(own)} are missing or of "
            f"another shape, {lost[0]} among them. Fetch the file again."
        )
    net.load_state_dict(known)
