"""Ctrl-C ends a command in order, also where a library makes another error of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from vividface_core.cli import main
from vividface_core.runtime import signals

BEFORE = signal.default_int_handler


@pytest.fixture(autouse=True)
def python_handles_it():
    """As in a program; a test run in the background of a shell ignores the signal."""
    kept = signal.signal(signal.SIGINT, BEFORE)
    yield
    signal.signal(signal.SIGINT, kept)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def told(monkeypatch, capsys, run) -> tuple[int, str]:
    """What ``vividface models`` returns and says with ``run`` in its place."""
    monkeypatch.setattr("vividface_core.cli.models.run", run)
    return main.main(["models", "list"]), capsys.readouterr().err


def swallowed(args):
    try:
        press()
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape") from None


def test_a_swallowed_press_ends_as_one(monkeypatch, capsys):
    status, errors = told(monkeypatch, capsys, swallowed)
    assert status == 130 and "stopped" in errors and "shape" not in errors
    assert signal.getsignal(signal.SIGINT) is BEFORE


def test_an_error_of_its_own_stays_one(monkeypatch, capsys):
    def fails(args):
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        told(monkeypatch, capsys, fails)
    assert signal.getsignal(signal.SIGINT) is BEFORE


def test_asyncio_may_end_its_tasks_in_order():
    """It cancels them instead of raising wherever it is."""
    seen = []

    async def work():
        try:
            press()
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with signals.sigint_flag():
        ours = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), signals.restore_sigint_for_asyncio():
            asyncio.run(work())
        assert signal.getsignal(signal.SIGINT) is ours
    assert seen == ["cancelled"]


@pytest.mark.parametrize("other", [signal.SIG_IGN, lambda number, frame: None])
def test_a_handler_of_somebody_else_stays(other):
    signal.signal(signal.SIGINT, other)
    with signals.sigint_flag() as pressed, signals.restore_sigint_for_asyncio():
        press()
    assert not pressed()
    assert signal.getsignal(signal.SIGINT) == other


def test_other_threads_change_nothing():
    found = []

    def work():
        with signals.sigint_flag():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [BEFORE]
