"""Actors whose calls the test answers, in the place of Ray's."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorUnavailableError, RayTaskError


@dataclass(eq=False)
class Call:
    """A call under way, as an `ObjectRef` knows it."""

    method: str
    arguments: tuple[Any, ...]
    answered: "Future[Any]" = field(default_factory=Future)

    def future(self) -> "Future[Any]":
        return self.answered

    def answer(self, reply: Any) -> None:
        """Gives the answer; an exception is raised where it is asked for, as the one it wraps."""
        if isinstance(reply, RayTaskError):
            self.answered.set_exception(reply.as_instanceof_cause())
        elif isinstance(reply, Exception):
            self.answered.set_exception(reply)
        else:
            self.answered.set_result(reply)


@dataclass(eq=False)
class Method:
    """A method of an actor; `calls` are all that were made, oldest first."""

    name: str
    calls: list[Call] = field(default_factory=list)

    def remote(self, *arguments: Any) -> Call:
        self.calls.append(Call(self.name, arguments))
        return self.calls[-1]

    def options(self, *, max_task_retries: int) -> "Method":
        """The same method: nothing here repeats a call."""
        assert max_task_retries == 0
        return self

    @property
    def open(self) -> list[Call]:
        """The calls that have no answer yet."""
        return [call for call in self.calls if not call.answered.done()]


@dataclass(eq=False)
class Handle:
    """The handle of an actor."""

    ping: Method = field(default_factory=lambda: Method("ping"))
    load: Method = field(default_factory=lambda: Method("load"))
    optimize: Method = field(default_factory=lambda: Method("optimize"))
    progress: Method = field(default_factory=lambda: Method("progress"))
    leave: Method = field(default_factory=lambda: Method("leave"))

    @property
    def open(self) -> list[Call]:
        """The calls of any kind that have no answer yet."""
        methods = (self.ping, self.load, self.optimize, self.progress, self.leave)
        return [call for method in methods for call in method.open]


class FakeRay:
    """`kill` is written down: the handle, and whether it is for good."""

    def __init__(self) -> None:
        self.killed: list[tuple[Handle, bool]] = []

    def kill(self, handle: Handle, *, no_restart: bool = True) -> None:
        self.killed.append((handle, no_restart))

    def wait(self, calls: list[Call], *, timeout: float) -> tuple[list[Call], list[Call]]:
        assert timeout == 0
        done = [call for call in calls if call.answered.done()]
        return done, [call for call in calls if call not in done]

    def get(self, call: Call) -> Any:
        return call.answered.result(timeout=0)


def unavailable() -> ActorUnavailableError:
    """What a call gets whose actor's process or machine has died."""
    return ActorUnavailableError("gone", b"0" * 16)


def task_error(cause: Exception) -> RayTaskError:
    """What a call gets that raised."""
    trace = f"Traceback (most recent call last):\n  File ...\n{type(cause).__name__}: {cause}"
    return RayTaskError("load", trace, cause)
