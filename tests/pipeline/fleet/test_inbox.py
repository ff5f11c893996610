"""Answers arrive on any thread and are taken on one."""

import threading
import time
from concurrent.futures import Future

from pipeline.fleet.inbox import Inbox
from tests.pipeline.fake_ray import Method


def test_answers_are_taken_in_the_order_they_came_and_once() -> None:
    inbox, method = Inbox(), Method("optimize")
    taken: list[tuple[int, str]] = []
    calls = [method.remote(k) for k in range(3)]
    for k, call in enumerate(calls):
        inbox.watch(call, lambda future, k=k: taken.append((k, future.result())))
    inbox.deliver(0)
    assert taken == []
    calls[2].answer("c")
    calls[0].answer("a")
    assert taken == [], "only where they are asked for"
    inbox.deliver(0)
    inbox.deliver(0)
    assert taken == [(2, "c"), (0, "a")]


def test_a_call_that_is_answered_already_is_heard() -> None:
    inbox, call = Inbox(), Method("ping").remote()
    call.answer(7)
    taken: list[Future[int]] = []
    inbox.watch(call, taken.append)
    inbox.deliver(0)
    assert [future.result() for future in taken] == [7]


def test_the_first_answer_ends_the_wait() -> None:
    inbox, call = Inbox(), Method("ping").remote()
    threads: list[str] = []
    inbox.watch(call, lambda future: threads.append(threading.current_thread().name))
    other = threading.Timer(0.05, call.answer, ["late"])
    other.start()
    start = time.monotonic()
    inbox.deliver(30)
    assert time.monotonic() - start < 15
    assert threads == [threading.current_thread().name]
    other.join()


def test_nobody_answers() -> None:
    inbox = Inbox()
    start = time.monotonic()
    inbox.deliver(0.05)
    assert time.monotonic() - start >= 0.05
