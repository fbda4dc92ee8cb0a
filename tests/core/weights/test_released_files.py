"""Checkpoints that are one file of a release page: found by name, told what they were trained for."""

from __future__ import annotations

import pytest
import torch

from tests.core.bfvr_stc.drawn import narrow_codeformer
from vividface_core.errors import MissingWeights
from vividface_core.weights import inspect, list_checkpoints, where


@pytest.mark.parametrize("folder", ["bfvr-stc-deflicker", "."])
def test_the_file_is_the_checkpoint(tmp_path, folder):
    path = tmp_path / folder / "ckpt-defilcker.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save({"params_ema": narrow_codeformer("released", n_layers=6).state_dict()}, path)
    assert where("bfvr-stc-deflicker", [tmp_path]) == path
    told = {info.name: info for info in list_checkpoints([tmp_path])}
    assert told["bfvr-stc-deflicker"].here
    assert "trained to deflicker brightness;" in str(told["bfvr-stc-deflicker"])
    # Its weights alone don't tell the two flickers apart.
    assert inspect(path).tasks == ("deflicker brightness", "deflicker pixel")


def test_what_is_not_here_is_told_with_its_address_and_that_it_has_no_licence(tmp_path):
    told = {info.name: info for info in list_checkpoints([tmp_path])}
    assert not told["bfvr-stc"].here and "none: the authors state none" in str(told["bfvr-stc"])
    with pytest.raises(MissingWeights, match="releases/download/init/ckpt-bfvr.pth"):
        where("bfvr-stc", [tmp_path])
