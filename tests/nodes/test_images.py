"""IMAGE batches on their way into the engine and back."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location

import pytest
import torch

from tests.paths import REPOSITORY
from vividface_core.errors import InvalidOption

# By its path: the room around it needs ComfyUI.
_SPEC = spec_from_file_location("pictures", REPOSITORY / "nodes" / "bridge" / "images.py")
images = module_from_spec(_SPEC)
_SPEC.loader.exec_module(images)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    batch = torch.zeros(3, 8, 8, 3)
    batch[1, 2, 3, 0] = value
    with pytest.raises(InvalidOption, match="Image 1 holds values that are no numbers"):
        images.to_frames(batch)


def test_alpha_comes_back() -> None:
    batch = torch.rand(2, 8, 6, 4)
    frames = images.to_frames(batch)
    assert frames.shape == (2, 3, 8, 6)
    back = images.with_alpha_of(images.to_images(frames), batch)
    assert torch.equal(back, batch)
    assert images.with_alpha_of(batch[..., :3], batch[..., :3]).shape[-1] == 3
