"""What scenes cost: the time of each step, shared out equally among those who had part in it.

A step's time is its stopwatch's: on a CUDA device from where the device comes to the step to where
it has done it, on that device's clock; on a CPU the host's. Steps that are queued one behind the
other add up to the time that the device was busy with them, exports beside them included. What
passes while no step is queued is nobody's: a host that pauses, an admission, a recording.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from engine.stopwatch import MOST_UNREAD, Stopwatch


@dataclass(eq=False)
class Account:
    """What one scene has been charged with so far, in seconds."""

    seconds: float = 0.0
    is_open: bool = True


class Charges:
    """Told who has part in each step of the stopwatch; never waits for the device.

    What a step took is known once the device has done it. Those who have left by then pay nothing
    any more, and the others their shares: all that was charged is what the steps took, unless
    nobody is left.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._sharers: deque[list[Account]] = deque()
        self._parts: deque[dict[str, float]] = deque(maxlen=MOST_UNREAD)

    def book(self, accounts: Iterable[Account]) -> None:
        """A step of these scenes has been asked for."""
        self._sharers.append(list(accounts))
        # Of more the stopwatch forgets the oldest; whoever steps keeps the device that near.
        assert len(self._sharers) <= MOST_UNREAD

    def settle(self) -> None:
        """Charges every step that the device has done by now, once."""
        for parts in self._stopwatch.read():
            self._parts.append(parts)
            sharers = [account for account in self._sharers.popleft() if account.is_open]
            for account in sharers:
                account.seconds += sum(parts.values()) / len(sharers)

    def close(self, account: Account) -> float:
        """The scene leaves; what it has cost."""
        self.settle()
        account.is_open = False
        return account.seconds

    def read(self) -> list[dict[str, float]]:
        """As `Stopwatch.read`, which has no other reader beside this one."""
        self.settle()
        parts = list(self._parts)
        self._parts.clear()
        return parts
