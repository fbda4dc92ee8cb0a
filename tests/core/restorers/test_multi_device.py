"""Several devices, and memory that runs out: nothing of a run is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.command import vividface
from tests.tiny import dies, save_tiny_checkpoint
from vividface_core.errors import DeviceLost, InvalidOption, MissingWeights, OutOfMemory
from vividface_core.pipeline.planning import choose_window, reduce_memory
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.restorers.base import Restorer, translate_oom
from vividface_core.restorers.lengths import ClipLengths
from vividface_core.restorers.multi_device.pool import DevicePool
from vividface_core.restorers.oom_fallback import OomFallbackRestorer
from vividface_core.restorers.windows import CrossFade, plan_windows
from vividface_core.runtime.devices import pick_devices
from vividface_core.video.source import VideoFrames
from vividface_core.wan.optimizations.offload import onload
from vividface_core.weights import load_restorer

CPU = torch.device("cpu")
WHOLE = RestoreOptions(whole_frame=True, size=64, window=9, overlap=4)


@pytest.fixture(scope="module")
def frames():
    torch.manual_seed(5)
    return torch.rand(40, 3, 64, 64)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return partial(load_restorer, save_tiny_checkpoint(tmp_path_factory.mktemp("pool") / "tiny"))


@pytest.fixture(scope="module")
def alone(load, frames):
    return restore_frames(frames, load(device=CPU), WHOLE)[0]


@pytest.fixture(scope="module")
def pool(load):
    told = []
    with DevicePool(load, [CPU, CPU], told.append) as pool:
        pool.told = told
        yield pool


def test_two_processes_give_what_one_gives(pool, load, frames, alone):
    single = load(device=CPU)
    assert (pool.name, pool.native_size, pool.size_multiple) == (single.name, 64, single.size_multiple)
    assert pool.memory_for(17, 64, 64) == single.memory_for(17, 64, 64) and pool.weight_bytes == single.weight_bytes > 0
    both, result = restore_frames(frames, pool, WHOLE)
    assert (both - alone).abs().max() < 1e-5 and not pool.told
    assert (alone - frames).abs().mean() > 0.01


def test_a_killed_process_costs_its_clip_only(pool, frames, alone, monkeypatch):
    worker = pool._workers[0]
    send = worker.send

    def send_and_kill(request):
        monkeypatch.undo()
        victim = worker._process.pid
        os.kill(victim, signal.SIGSTOP)  # it holds the clip when it dies, however late that is
        threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
        send(request)

    monkeypatch.setattr(worker, "send", send_and_kill)
    both, _ = restore_frames(frames, pool, WHOLE)
    assert (both - alone).abs().max() < 1e-5
    assert len(pool.told) == 1 and "signal 9" in pool.told[0]


def test_what_can_not_start_says_why(tmp_path):
    with pytest.raises(DeviceLost, match="exit status 3"):
        DevicePool(dies, [CPU], print)
    with pytest.raises(MissingWeights, match="nowhere"):
        DevicePool(partial(load_restorer, tmp_path / "nowhere"), [CPU, CPU], print)
    with pytest.raises(InvalidOption, match="device"):
        pick_devices("cpu,cuda:99")
    assert pick_devices("cpu, cpu") == [CPU, CPU]


def test_the_command_takes_several_devices(load, tmp_path):
    source = tmp_path / "in.mp4"
    run_ffmpeg("-i", clip("franck"), "-frames:v", 30, "-vf", "scale=160:-2", "-an", source)
    outputs = []
    for words in (["--device", "cpu"], ["--devices", "cpu,cpu"]):
        outputs.append(tmp_path / f"{len(words[1])}.mkv")
        command = [
            "restore",
            source,
            "-o",
            outputs[-1],
            "--model",
            load.args[0],
            "--preset",
            "ffv1",
            "--window",
            9,
            "--overlap",
            4,
            "--min-face",
            8,
            "--quiet",
            *words,
        ]
        run = vividface(*command)
        assert run.returncode == 0, run.stderr
        assert "30 frames" in run.stdout and "0 face tracks" not in run.stdout
    one, two = (torch.stack([frame.rgb() for frame in VideoFrames(path).read()]) for path in outputs)
    # Sums in another order: here and there a sample is rounded to its neighbour, which in chroma is 1.8 / 255 in blue.
    assert (one - two).abs().max() <= 2.1 / 255 and (one - two).abs().mean() < 1e-4


class Small(Restorer):
    """Adds 0.1, and has memory for so many frames only; the first remedy helps a little."""

    name = "small"
    valid_lengths, size_multiple = ClipLengths(4, 1), 16

    def __init__(self, most: int, remedies: int = 0) -> None:
        self.most, self.remedies, self.seen = most, remedies, []

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        self.seen.append(len(clip))
        with translate_oom(clip, CPU):
            if len(clip) > self.most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return clip + 0.1

    def reduce_memory(self):
        if not self.remedies:
            return ""
        self.remedies -= 1
        self.most += 8
        return "tiles"

    def memory_for(self, frames, height, width):
        return 1000 * frames * height // 64

    modules = {}
    device, dtype = CPU, torch.float32

    def to(self, device=None, dtype=None):
        return self


def test_a_clip_that_does_not_fit_goes_in_shorter_windows(frames):
    told, small = [], Small(10)
    fallback = OomFallbackRestorer(small, told.append)
    clip = frames[:33]
    torch.testing.assert_close(fallback.restore(clip), clip + 0.1)
    assert small.seen[:4] == [33, 21, 13, 9] and set(small.seen[3:]) == {9}
    assert len(told) == 3 and "21" in told[0] and "9" in told[-1]
    count = len(small.seen)
    fallback.restore(clip[:9])
    fallback.restore(clip)
    assert set(small.seen[count:]) == {9} and len(told) == 3  # it is not tried again


def test_what_changes_nothing_comes_first(frames):
    told, small = [], Small(10, remedies=1)
    OomFallbackRestorer(small, told.append).restore(frames[:17])
    assert small.seen == [17, 17] and "tiles" in told[0] and "same pictures" in told[0]
    with pytest.raises(OutOfMemory, match="1 frames of 64×64"):
        OomFallbackRestorer(Small(0), told.append).restore(frames[:5])
    with pytest.raises(RuntimeError, match="shapes"):
        with translate_oom(frames, CPU):
            raise RuntimeError("shapes differ")


def test_windows_are_faded_into_one_another(frames):
    class Drifting(Small):
        def restore(self, clip, **more):
            super().restore(clip)
            return clip * 0 + len(self.seen) / 10

    drifting = Drifting(9)
    fallback = OomFallbackRestorer(drifting, lambda text: None)
    fallback.longest = 9
    got = fallback.restore(frames[:16])[:, 0, 0, 0]
    fade = CrossFade(plan_windows(16, 9, 2))
    parts = [fade.push(torch.full((9, 3, 1, 1), value))[1] for value in (0.1, 0.2)]
    torch.testing.assert_close(got, torch.cat(parts)[:, 0, 0, 0])


def test_tiles_come_before_shorter_windows(load):
    restorer = load(device=CPU)
    whole = restorer.memory_for(17, 512, 512)
    assert reduce_memory(restorer, 17, (512, 512), whole) == "" and restorer.tile is None
    assert "tiles of 256" in reduce_memory(restorer, 17, (512, 512), whole - 1)
    assert restorer.tile == 256 and restorer.memory_for(17, 512, 512) < whole
    assert "128" in reduce_memory(restorer, 17, (512, 512), 1)
    restorer.restore_defaults()
    assert restorer.tile is None


def test_weights_wait_at_home_and_are_lent(load, frames):
    """On a device that holds no contents: what is lent goes there and nothing of it is left."""
    module, meta = load(device=CPU).modules["decoder"], torch.device("meta")
    before = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    with pytest.raises(KeyError), onload(module, meta):
        assert {tensor.device for tensor in module.state_dict().values()} == {meta}
        raise KeyError("stop")
    assert before == {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    waiting, at_once = load(device=CPU, offload=True), load(device=CPU)
    assert torch.equal(waiting.restore(frames[:5]), at_once.restore(frames[:5]))
    waiting.to(meta)
    assert waiting.device == meta and {p.device for m in waiting.modules.values() for p in m.parameters()} == {CPU}
    shares = [sum(t.numel() * 4 for t in [*m.parameters(), *m.buffers()]) for m in waiting.modules.values()]
    assert at_once.memory_for(5, 64, 64) - waiting.memory_for(5, 64, 64) == sum(shares) - max(shares)
    for options, word in (({"offload": True, "compile": True}, "offload"), ({"tile": 16}, "tile")):
        with pytest.raises(InvalidOption, match=word):
            load(device=CPU, **options)


def test_the_window_follows_the_shape():
    small = Small(99)
    assert choose_window(small, (64, 64), 81, 41_000) == 41
    assert choose_window(small, (128, 64), 81, 41_000) == 17
    with pytest.raises(OutOfMemory, match="100×640"):
        choose_window(small, (640, 100), 81, 5_000)


LIMITED = """
import resource, sys
import torch
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.weights import load_restorer

class Told(Callbacks):
    def plan(self, plan):
        used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), resource.RLIM_INFINITY))
    def notice(self, text):
        print("NOTICE", text)

torch.set_num_threads(1)
restorer = load_restorer(sys.argv[1])
restorer.restore(torch.rand(1, 3, 256, 256))  # libraries take what they need before memory is limited
torch.manual_seed(0)
clip = torch.rand(49, 3, 256, 256)
options = RestoreOptions(whole_frame=True, size=256, window=49, overlap=0)
restored, _ = restore_frames(clip, restorer, options, callbacks=Told())
print("DONE", len(restored), bool(torch.isfinite(restored).all()), float((restored - clip).abs().mean()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory can be limited so on Linux only")
def test_a_run_goes_on_when_memory_really_ends(load):
    """The process may take so much address space and no more: allocations fail for good, in the middle of a run."""
    program = [sys.executable, "-c", LIMITED, str(load.args[0]), str(170 << 20)]
    run = subprocess.run(program, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "NOTICE 49 frames at once ran out of memory" in run.stdout or "NOTICE Memory ran out" in run.stdout
    _, count, finite, changed = run.stdout.splitlines()[-1].split()
    assert (count, finite) == ("49", "True") and float(changed) > 0.01


def test_whole_frames_may_keep_their_size(load, frames):
    wide = torch.nn.functional.pad(frames[:6], (0, 21, 0, 5), mode="reflect")
    restorer = load(device=CPU)
    kept, result = restore_frames(wide, restorer, RestoreOptions(whole_frame=True, keep_size=True, window=9))
    torch.testing.assert_close(kept, restorer.restore(wide.half().float()), atol=1e-6, rtol=0)
    squeezed, _ = restore_frames(wide, restorer, RestoreOptions(whole_frame=True, window=9))
    assert (kept - squeezed).abs().max() > 0.05
    for options in ({"keep_size": True}, {"keep_size": True, "whole_frame": True, "size": 64}):
        with pytest.raises(InvalidOption, match="keep_size"):
            RestoreOptions(**options)


@pytest.fixture(scope="module")
def group(load):
    told = []
    with DevicePool(load, [CPU, CPU], told.append, together=True) as group:
        group.told = told
        yield group


def test_two_processes_share_one_clip(group, load, frames):
    single, shares = load(device=CPU), []
    assert group.parallel == 0 and group.memory_for(17, 64, 64) == single.memory_for(17, 64, 64)
    together = group.restore(frames[:17], progress=shares.append)
    wanted = single.restore(frames[:17])
    assert (together - wanted).abs().max() < 1e-5 and (wanted - frames[:17]).abs().mean() > 0.01
    both, _ = restore_frames(frames, group, WHOLE)
    assert (both - restore_frames(frames, single, WHOLE)[0]).abs().max() < 1e-5
    assert not group.told


@pytest.mark.parametrize("who", [0, 1])
def test_when_one_of_them_is_killed_all_start_anew(group, frames, who):
    wanted, told = group.restore(frames[:9]), len(group.told)
    before = [worker._process.pid for worker in group._workers[0]._workers]
    victim = before[who]
    os.kill(victim, signal.SIGSTOP)  # so that the other one waits for it
    killer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    killer.start()
    assert (group.restore(frames[:9]) - wanted).abs().max() < 1e-5
    assert len(group.told) == told + 1 and "signal 9" in group.told[-1]
    assert not set(before) & {worker._process.pid for worker in group._workers[0]._workers}


def test_what_one_of_them_refuses_is_told_and_the_next_clip_goes_well(group, frames):
    wanted = group.restore(frames[:5])
    with pytest.raises(InvalidOption, match="mask"):
        group.restore(frames[:5], mask=torch.rand(3, 1, 8, 8))
    assert (group.restore(frames[:5]) - wanted).abs().max() < 1e-5


def test_heads_that_do_not_share_out_are_told_at_the_start(load):
    with pytest.raises(InvalidOption, match="heads"):
        DevicePool(load, [CPU] * 3, print, together=True)
