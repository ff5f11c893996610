"""`fleet.Fleet` over nodes and actors that exist on the simulated clock only.

    node comes ─▶ its actors load, `wave` at a time ─▶ Joined
    announced end ─▶ Parted, the actors leave ─▶ the node goes ─▶ Lost, for what is still open
    sudden end ─▶ Parted ─▶ found after a quarter of a minute: Lost ("node")
    a process dies, or hangs for too long ─▶ Parted, Lost ─▶ it loads again on the same node

A node that went is replaced; one whose actors were all released goes back. An actor that is
replaced leaves, and another loads on the same GPU.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial

from pipeline.errors import RunError
from pipeline.fleet.fleet import Event, Glimpsed, Joined, Lost, Parted, Settled
from pipeline.records import Attempt, Cause, Outcome
from pipeline.simulation.actor import LEAVING_SECONDS, Actor
from pipeline.simulation.draws import Fate
from pipeline.simulation.node import Berth, Node
from pipeline.simulation.world import World

_POLL_SECONDS = 1.0
"""Until the driver sees that a node is to go, or that an actor does not answer."""
_NODE_SECONDS = 15.0
"""Until Ray says that a machine is gone."""
_PROCESS_SECONDS = 5.0
"""Until a process that died is back, so that its death is certain."""
_GLANCE_SECONDS = 2.0
_GLANCES = 40
"""Actors that are asked, in turn, at a time."""
_MESSAGES: dict[Cause, str] = {
    "node": "its machine went away",
    "process": "its process died",
    "hung": "it did not move",
}


class SimulatedFleet:
    """Nodes that come and go, and the actors on them. `seconds` of this thread have been spent on
    simulating them: they are not the driver's."""

    def __init__(self, world: World) -> None:
        given = world.assumptions
        self.seconds = 0.0
        self._world = world
        self._timeline = world.timeline
        self._events: list[Event] = []
        self._nodes: dict[Node, None] = {}
        self._berths: dict[str, Berth] = {}
        self._to_load: deque[Berth] = deque()
        self._to_glance: deque[Berth] = deque()
        self._num_loading = 0
        self._num_named = 0
        self._num_ordered = 0
        """Nodes on their way."""
        self._generation = 0
        """Nodes ordered in an earlier one are no longer wanted."""
        for number in range(given.num_nodes):
            size = min(given.nodes_of, given.gpus - number * given.nodes_of)
            self._order(size, seconds=60.0 * number / given.nodes_per_minute)
        self._timeline.after(_GLANCE_SECONDS, self._glance)

    @property
    def num_coming(self) -> int:
        """See `Fleet`."""
        return self._num_loading

    def send(self, actor: str, attempt: Attempt) -> None:
        """See `Fleet`."""
        began = time.thread_time()
        berth = self._berths[actor]
        berth.num_held += 1
        if berth.actor is not None:
            berth.actor.receive(attempt)
        self.seconds += time.thread_time() - began

    def events(self, timeout: float) -> Sequence[Event]:
        """See `Fleet`."""
        began, timeline = time.thread_time(), self._timeline
        if not (self._nodes or self._num_ordered):
            raise RunError("no node is left and none will come")
        end = timeline.now() + timeout
        while (moment := timeline.next_moment) is not None:
            if moment > (timeline.now() if self._events else end):
                break
            timeline.step()
        if not self._events:
            timeline.wait_until(end)
        events, self._events = self._events, []
        self.seconds += time.thread_time() - began
        return events

    def replace(self, actor: str) -> None:
        """See `Fleet`. One that is lost or leaving is a new one soon in any case."""
        berth = self._berths.get(actor)
        if berth is None or berth.state != "ready" or berth.actor is None:
            return
        self._world.account.events["actors replaced"] += 1
        berth.state = "leaving"
        berth.actor.leave()
        renewal = partial(self._renew, berth, berth.version)
        self._timeline.after(LEAVING_SECONDS + _POLL_SECONDS, renewal)

    def release(self, actor: str) -> None:
        """See `Fleet`."""
        assert not self._berths[actor].num_held, f"{actor} is released with orders"
        self._give_up(self._berths[actor])

    def release_coming(self) -> None:
        """See `Fleet`."""
        self._generation += 1
        self._num_ordered = 0
        if self._num_loading or self._to_load:
            for berth in list(self._berths.values()):
                if berth.state in ("queued", "loading"):
                    self._give_up(berth)
            self._to_load.clear()

    def leave(self) -> None:
        """See `Fleet`."""
        for node in self._nodes:
            self._announce(node)

    def close(self) -> None:
        """See `Fleet`."""
        for berth in list(self._berths.values()):
            self._give_up(berth)

    def answered(self, actor: Actor, attempt: Attempt, outcome: Outcome) -> None:
        """See `Overseer`."""
        if actor.is_unseen:
            if actor.is_empty:
                actor.die()
            return
        self._berths[actor.name].num_held -= 1
        self._events.append(Settled(actor=actor.name, attempt=attempt, outcome=outcome))

    def died(self, actor: Actor) -> None:
        """See `Overseer`."""
        berth = self._of(actor)
        if berth is not None:
            self._world.account.events["process deaths"] += 1
            self._stop(berth, "process")
        else:
            actor.die()

    def hung(self, actor: Actor) -> None:
        """See `Overseer`."""
        berth = self._of(actor)
        if berth is None:
            self.died(actor)
            return
        self._world.account.events["hung actors"] += 1
        seconds = 60.0 * self._world.assumptions.hang_minutes
        self._timeline.after(seconds, partial(self._find_hung, berth, berth.version))

    def _of(self, actor: Actor) -> Berth | None:
        """The berth of an actor; None if the driver has lost it."""
        return None if actor.is_unseen else self._berths[actor.name]

    def _order(self, size: int, *, seconds: float) -> None:
        self._num_ordered += 1
        self._timeline.after(seconds, partial(self._come, size, self._generation))

    def _come(self, size: int, generation: int) -> None:
        if generation != self._generation:
            return
        self._num_ordered -= 1
        self._world.account.events["nodes that came"] += 1
        node = Node(since=self._timeline.now())
        self._nodes[node] = None
        for _ in range(size):
            berth = self._berth(node, self._world.draws.ailment())
            self._world.account.events["bad GPUs"] += berth.ailment is not None
            node.berths.append(berth)
            self._queue(berth)
        self._load()
        life = self._world.draws.life_seconds()
        if life is not None:
            self._timeline.after(life, partial(self._preempt, node))

    def _berth(self, node: Node, ailment: Fate | None) -> Berth:
        """A GPU, with a new name for the actor that will be there."""
        berth = Berth(name=f"actor-{self._num_named}", node=node, ailment=ailment)
        self._num_named += 1
        self._berths[berth.name] = berth
        return berth

    def _queue(self, berth: Berth) -> None:
        berth.state, berth.queued, berth.actor = "queued", self._timeline.now(), None
        self._to_load.append(berth)

    def _load(self) -> None:
        while self._to_load and self._num_loading < self._world.assumptions.wave:
            berth = self._to_load.popleft()
            if berth.state != "queued":
                continue
            berth.state = "loading"
            self._num_loading += 1
            seconds = self._world.draws.load_seconds()
            self._timeline.after(seconds, partial(self._loaded, berth, berth.version))

    def _loaded(self, berth: Berth, version: int) -> None:
        if version != berth.version:
            return
        self._end_loading(berth)
        berth.state = "ready"
        berth.actor = Actor(berth.name, self._world, self, ailment=berth.ailment)
        self._to_glance.append(berth)
        self._events.append(Joined(actor=berth.name))
        account = self._world.account
        is_full = len(self._berths) == self._world.assumptions.gpus
        if account.all_ready is None and is_full and not self._num_loading and not self._to_load:
            account.all_ready = self._timeline.now()
        self._load()

    def _end_loading(self, berth: Berth) -> None:
        """An actor has loaded, or will not."""
        self._num_loading -= berth.state == "loading"
        self._world.account.loading_seconds += self._timeline.now() - berth.queued

    def _preempt(self, node: Node) -> None:
        if node.is_gone:
            return
        if not self._world.draws.is_noticed():
            self._world.account.events["nodes that went unannounced"] += 1
            self._go(node, is_unseen=self._world.draws.is_unreachable(), has_notice=False)
            return
        self._world.account.events["nodes that went after notice"] += 1
        self._timeline.after(_POLL_SECONDS, partial(self._announce, node))
        seconds = self._world.assumptions.notice_seconds
        self._timeline.after(seconds, partial(self._go, node, is_unseen=False, has_notice=True))

    def _announce(self, node: Node) -> None:
        """The driver asks the actors of a node to leave."""
        for berth in node.berths:
            if berth.state == "ready" and berth.actor is not None:
                berth.state = "leaving"
                self._events.append(Parted(actor=berth.name))
                berth.actor.leave()

    def _go(self, node: Node, *, is_unseen: bool, has_notice: bool) -> None:
        if node.is_gone:
            return
        wanted = [berth for berth in node.berths if berth.state != "gone"]
        for berth in wanted:
            berth.version += 1
            if berth.state in ("queued", "loading"):
                self._end_loading(berth)
            actor, berth.state = berth.actor, "gone"
            lost: dict[str, float] = {}
            if actor is not None:
                lost = actor.lost_gpu_seconds()
                actor.vanish() if is_unseen else actor.die()
            verdict = partial(self._judge, berth, berth.version, "node", lost)
            self._timeline.after(_POLL_SECONDS, partial(self._part, berth))
            self._timeline.after(_POLL_SECONDS if has_notice else _NODE_SECONDS, verdict)
        self._end(node)
        self._order(len(wanted), seconds=self._world.draws.replacement_seconds())
        self._load()

    def _end(self, node: Node) -> None:
        """A node is paid for no more."""
        node.is_gone = True
        del self._nodes[node]
        self._world.account.held_seconds += len(node.berths) * (self._timeline.now() - node.since)

    def _find_hung(self, berth: Berth, version: int) -> None:
        if version == berth.version:
            self._stop(berth, "hung")

    def _stop(self, berth: Berth, cause: Cause) -> None:
        """A process has ended, or is ended; the driver notices."""
        actor = berth.actor
        assert actor is not None, f"{berth.name} has no process"
        lost = actor.lost_gpu_seconds()
        actor.die()
        berth.version += 1
        berth.state, berth.actor = "down", None
        self._timeline.after(_POLL_SECONDS, partial(self._part, berth))
        verdict = partial(self._judge, berth, berth.version, cause, lost)
        self._timeline.after(_PROCESS_SECONDS, verdict)

    def _renew(self, berth: Berth, version: int) -> None:
        """An actor that was to be replaced has left, and another one comes; what is still being
        published is waited for a little longer."""
        if version != berth.version:
            return
        if berth.num_held:
            self._timeline.after(_POLL_SECONDS, partial(self._renew, berth, version))
            return
        assert berth.actor is not None, f"{berth.name} has no process"
        berth.actor.die()
        berth.version += 1
        berth.state = "gone"
        del self._berths[berth.name]
        successor = self._berth(berth.node, berth.ailment)
        berth.node.berths[berth.node.berths.index(berth)] = successor
        self._queue(successor)
        self._load()

    def _part(self, berth: Berth) -> None:
        self._events.append(Parted(actor=berth.name))

    def _judge(self, berth: Berth, version: int, cause: Cause, lost: Mapping[str, float]) -> None:
        """The driver knows what became of an actor, which comes again if its node is there."""
        if version != berth.version:
            return
        if berth.num_held:
            self._events.append(
                Lost(actor=berth.name, cause=cause, message=_MESSAGES[cause], gpu_seconds=lost)
            )
            berth.num_held = 0
        if berth.state == "gone":
            del self._berths[berth.name]
        else:
            self._queue(berth)
            self._load()

    def _give_up(self, berth: Berth) -> None:
        """An actor is not wanted any more; with the last one its node goes back."""
        if berth.state in ("queued", "loading"):
            self._end_loading(berth)
        if berth.actor is not None:
            berth.actor.die()
        berth.version += 1
        berth.state = "gone"
        del self._berths[berth.name]
        if not berth.node.is_gone and all(each.state == "gone" for each in berth.node.berths):
            self._end(berth.node)

    def _glance(self) -> None:
        """The next few actors say how far they are."""
        self._timeline.after(_GLANCE_SECONDS, self._glance)
        for _ in range(min(_GLANCES, len(self._to_glance))):
            berth = self._to_glance.popleft()
            if berth.state == "ready" and berth.actor is not None:
                self._events.append(Glimpsed(actor=berth.name, glance=berth.actor.glance()))
                self._to_glance.append(berth)
