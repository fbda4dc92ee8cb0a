"""Reading and writing beside the work: the same items in the same order, bounded, and no error or Ctrl-C is lost."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from vividface_core.runtime.prefetch import background_writer, prefetch


def one(item: object) -> int:
    return 1


def test_items_come_in_order_from_another_thread():
    threads = set()

    def source():
        for number in range(1000):
            threads.add(threading.current_thread())
            yield number

    assert list(prefetch(source(), one, max_bytes=7)) == list(range(1000))
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_reading_goes_on_while_the_work_lasts_but_no_further_than_there_is_room():
    read = []

    def source():
        for number in range(100):
            read.append(number)
            yield number

    with closing(prefetch(source(), lambda number: 10, max_bytes=50)) as items:
        assert next(items) == 0
        while len(read) < 7:
            time.sleep(0.01)
        time.sleep(0.3)
        # One at work, five that wait, one that is read and finds no room.
        assert len(read) == 7


def test_no_more_items_wait_than_allowed_however_small():
    read = []
    with closing(
        prefetch((read.append(number) or number for number in range(100)), lambda number: 0, max_items=4)
    ) as items:
        next(items)
        while len(read) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(read) <= 6


def test_an_item_larger_than_the_room_passes():
    assert list(prefetch(iter([1, 2, 3]), lambda item: 1000, max_bytes=1)) == [1, 2, 3]


def test_an_error_while_reading_comes_in_its_place():
    def source():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in prefetch(source(), one):
            got.append(item)
    assert got == [1, 2]


def test_a_reader_that_nobody_needs_any_more_closes_its_file():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    before = threading.active_count()
    with closing(prefetch(source(), one, max_bytes=3)) as items:
        next(items)
    assert closed == ["prefetch"] and threading.active_count() == before


def test_everything_is_written_before_the_end():
    written = []

    def write(number):
        time.sleep(0.002)
        written.append(number)

    with background_writer(write, one, max_bytes=5) as put:
        for number in range(50):
            put(number)
    assert written == list(range(50))


def test_reading_working_and_writing_go_on_side_by_side():
    """The first item is being written until the second one is worked on and the third one is read."""
    worked, read, met = threading.Event(), threading.Event(), []

    def source():
        yield from (0, 1, 2)
        read.set()

    def write(number):
        if number == 0:
            met.append(worked.wait(120) and read.wait(120))

    with background_writer(write, one) as put:
        for number in prefetch(source(), one):
            if number == 1:
                worked.set()
            put(number)
    assert met == [True]


def test_an_error_while_writing_reaches_who_writes():
    def write(number):
        if number == 3:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), background_writer(write, one, max_bytes=1) as put:
        for number in range(100):
            put(number)
    with pytest.raises(OSError, match="the disk is full"), background_writer(write, one) as put:
        put(3)  # noticed only at the end


def test_an_error_of_the_work_drops_what_waits_and_leaves_no_writer_behind():
    written, before = [], threading.active_count()

    def write(number):
        time.sleep(0.05)
        written.append(number)

    with pytest.raises(KeyboardInterrupt), background_writer(write, one, max_bytes=50) as put:
        for number in range(50):
            put(number)
        raise KeyboardInterrupt
    assert len(written) < 50 and threading.active_count() == before
