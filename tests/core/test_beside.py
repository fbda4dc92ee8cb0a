"""Clips restored in a thread: in order, errors and news in the caller's own thread, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from tests.tiny import tiny_modules
from vividface_core.errors import OutOfMemory
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.restorers.beside import Beside, Dropped
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.oom_fallback import OomFallbackRestorer
from vividface_core.wan.empty_prompt import EmptyPrompt

WHOLE = RestoreOptions(whole_frame=True, size=32, window=5, overlap=1, identity_guard="off")


def tiny_restorer() -> OneStepRestorer:
    return OneStepRestorer(*tiny_modules(), EmptyPrompt(torch.randn(1, 16)))


@pytest.fixture
def beside():
    thread = Beside()
    yield thread
    thread.end()


def test_work_is_done_in_order_by_one_other_thread(beside):
    seen = []

    def work(number):
        return lambda tell: seen.append((number, threading.current_thread())) or number

    waits = [beside.submit(work(number)) for number in range(5)]
    assert [wait() for wait in reversed(waits)] == [4, 3, 2, 1, 0]
    assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
    assert len({thread for _, thread in seen}) == 1 and seen[0][1] is not threading.current_thread()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_work_computes_as_its_sender_does(beside, mode):
    def now(tell=None):
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with mode():
        assert beside.submit(now)() == now()


@pytest.mark.parametrize("error", [OutOfMemory("full"), TimeoutError("the work's own"), KeyboardInterrupt()])
def test_an_error_is_raised_where_the_result_is_asked_for(beside, error):
    def fail(tell):
        raise error

    wait = beside.submit(fail)
    assert beside.submit(lambda tell: 1)() == 1
    with pytest.raises(type(error)) as caught:
        wait()
    assert caught.value is error


def test_progress_is_told_in_the_callers_thread_and_may_stop_it(beside):
    heard, stopped = [], threading.Event()

    def work(tell):
        try:
            while True:
                tell(0.5)
                time.sleep(0.01)
        except Dropped:
            stopped.set()
            raise

    def progress(share):
        heard.append((share, threading.current_thread()))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        beside.submit(work, progress)()
    beside.end()
    assert stopped.is_set() and heard == [(0.5, threading.current_thread())]


def test_what_is_given_up_before_it_began_is_never_done():
    thread, done, gate = Beside(), [], threading.Event()

    def first(tell):
        gate.wait(10)
        tell(0.1)

    thread.submit(first)
    wait = thread.submit(lambda tell: done.append(1))
    thread._dropped.set()
    gate.set()
    thread.end()
    with pytest.raises(Dropped):
        wait()
    assert not done


def test_restored_beside_is_what_is_restored_in_turn(monkeypatch):
    restorer, clip = tiny_restorer(), torch.rand(23, 3, 48, 64)
    found, _ = restore_frames(clip, restorer, WHOLE)
    monkeypatch.setattr(OomFallbackRestorer, "parallel", 0)
    wanted, _ = restore_frames(clip, restorer, WHOLE)
    assert torch.equal(found, wanted) and not torch.equal(found, clip)


def test_a_stop_in_the_middle_leaves_no_thread():
    class Stop:
        def __getattr__(self, name):
            return lambda *_: None

        def progress(self, stage, done, total):
            if stage == "restore" and done > 6:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        restore_frames(torch.rand(23, 3, 48, 64), tiny_restorer(), WHOLE, callbacks=Stop())
    assert not [thread for thread in threading.enumerate() if thread.name == "restore"]


def lengths(restorer, monkeypatch) -> list[int]:
    """Frames of each clip that the restorer gets from now on."""
    seen, restore = [], restorer.restore
    monkeypatch.setattr(restorer, "restore", lambda clip, **options: seen.append(len(clip)) or restore(clip, **options))
    return seen


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_a_still_or_a_short_clip_is_restored_and_nothing_else(monkeypatch, frames):
    restorer, plans = tiny_restorer(), []
    seen = lengths(restorer, monkeypatch)

    class Keep:
        def __getattr__(self, name):
            return lambda *given: plans.append(given[0]) if name == "plan" else None

    options = RestoreOptions(whole_frame=True, size=32, window=17, identity_guard="off")
    restore_frames(torch.rand(frames, 3, 48, 64), restorer, options, callbacks=Keep())
    assert seen == [frames] and plans[0].seconds is None


def test_a_long_clip_is_timed_once(monkeypatch):
    restorer = tiny_restorer()
    seen = lengths(restorer, monkeypatch)
    options = RestoreOptions(whole_frame=True, size=32, window=33, overlap=8, identity_guard="off")
    for _ in range(2):
        restore_frames(torch.rand(120, 3, 48, 64), restorer, options)
    assert seen[:3] == [5, 1, 5] and set(seen[3:]) == {33} and len(seen[3:]) % 2 == 0


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "3"}])
def test_the_program_lets_threads_sleep_unless_the_user_says_otherwise(said):
    code = (
        "import os, sys\n"
        "from vividface_core.cli import main as cli\n"
        "assert 'torch' not in sys.modules\n"
        "try: cli.main(['restore', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' in sys.modules\n"
        "print(os.environ.get('OMP_WAIT_POLICY'))"
    )
    known = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**known, **said})
    assert found.stdout.split()[-1] == said.get("OMP_WAIT_POLICY", "None" if said else "PASSIVE"), found.stderr
