"""Averaged weights: the right average, in fp32, and whole when the net is sharded over processes."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from training.trainer.ema import EmaWeights


def test_the_average_equals_a_plain_loop():
    net = nn.Linear(3, 2)
    average = EmaWeights(net, 0.9)
    shadow = net.weight.detach().clone()
    for step in range(1, 6):
        net.weight.data += torch.randn_like(net.weight)
        average.step()
        decay = min(0.9, 1 - (1 + max(0, step - 1)) ** -0.75)
        shadow = decay * shadow + (1 - decay) * net.weight.detach()
    own = net.weight.detach().clone()
    with average.applied():
        assert torch.allclose(net.weight, shadow, atol=1e-6)
    assert torch.equal(net.weight, own)


def test_small_steps_are_not_rounded_away():
    net = nn.Linear(4, 4).to(torch.bfloat16)
    net.weight.data.fill_(1.0)
    average = EmaWeights(net, 0.999)
    average._ema.optimization_step = 10**6
    net.weight.data.fill_(1.0078125)
    for _ in range(100):
        average.step()
    assert 0.0005 < float(average.state_dict()["shadow_params"][0].mean()) - 1 < 0.001


SHARDED = """
import sys, torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from training.trainer.ema import EmaWeights
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 5))
first = [p.detach().clone() for p in net.parameters()]
for layer in net: fully_shard(layer, mesh=mesh)
fully_shard(net, mesh=mesh)
average = EmaWeights(net, 0.5)
average._ema.optimization_step = 100
for p in net.parameters(): p.data += 1
average.step()
state = average.state_dict()
for whole, value in zip(state["shadow_params"], first): assert torch.allclose(whole, value + 0.5), "average"
for value in state["shadow_params"]: value += 3
average.load_state_dict(state)
with average.applied():
    x = torch.ones(2, 6)
    got = net(x)
plain = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 5))
for p, value in zip(plain.parameters(), first): p.data = value + 3.5
assert torch.allclose(got, plain(x), atol=1e-4), "applied"
assert torch.allclose(next(net.parameters()).full_tensor(), first[0] + 1), "restored"
dist.barrier()  # whoever is slower still needs the other one
dist.destroy_process_group()
"""


def test_sharded_weights_are_averaged_saved_and_loaded_whole(request, tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {"PYTHONPATH": str(request.config.rootpath), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
