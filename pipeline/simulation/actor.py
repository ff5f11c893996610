"""A simulated actor: what `worker.Worker` and its publisher do, by the simulated clock.

    queue ──▶ gang ──▶ publishing ──▶ answered
      └─────────┴───── leave: preempted       die: nothing is answered any more

Checkpoints and assets go through the real store. What the store refuses is tried again after the
pauses of `retry.STORE_DELAYS_SECONDS`.
"""

from collections import deque
from functools import partial
from typing import Literal, Protocol

from pipeline import retry
from pipeline.records import Attempt, Glance, Outcome
from pipeline.simulation.bucket import asset_bytes
from pipeline.simulation.draws import End, Fate
from pipeline.simulation.gang import Gang, Scene
from pipeline.simulation.world import World
from pipeline.storage.persistence import persist

LEAVING_SECONDS = 5.0
"""From the word to leave until the checkpoints are written."""
_AILING_PART = 0.01
"""Of its work that a scene has done when a bad GPU fails."""
ANSWER_SECONDS = 0.05
"""Until an answer is with the driver."""
_AT_ONCE = (0.0,) * len(retry.STORE_DELAYS_SECONDS)


class Overseer(Protocol):
    """Who hears of an actor."""

    def answered(self, actor: "Actor", attempt: Attempt, outcome: Outcome) -> None: ...
    def died(self, actor: "Actor") -> None: ...
    def hung(self, actor: "Actor") -> None: ...


class Actor:
    """One process with one device. `is_unseen`: the driver has lost it, and it lives on. With an
    `ailment`, that is what becomes of all it is given."""

    def __init__(
        self, name: str, world: World, overseer: Overseer, *, ailment: Fate | None = None
    ) -> None:
        given = world.assumptions
        self.name = name
        self.is_alive = True
        self.is_unseen = False
        self._world = world
        self._overseer = overseer
        self._ailment: Fate | None = ailment
        self._is_leaving = False
        self._queue: deque[Attempt] = deque()
        self._open: dict[str, Scene | None] = {}
        """All that the actor has not answered, by attempt; None while it waits for a slot."""
        self._version = 0
        self._gang = Gang(
            num_slots=given.slots,
            single_share=given.single_share,
            save_seconds=given.checkpoint_seconds,
            save=self._save,
            now=world.timeline.now(),
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything has been answered."""
        return not self._open

    def receive(self, attempt: Attempt) -> None:
        """Takes an order."""
        self._open[attempt.attempt_id] = None
        if not self.is_alive:
            return
        if self._is_leaving:
            self._preempt(attempt, None)
            return
        self._queue.append(attempt)
        self._advance()
        self._go_on()

    def glance(self) -> Glance:
        """How far its scenes are."""
        self._advance()
        scenes = self._gang.scenes
        fractions = {
            scene.attempt.task.asset_id: min(1.0, scene.work_done / scene.work)
            for scene in scenes
            if scene.work
        }
        return Glance(fractions=fractions, steps_per_second=float(len(scenes)))

    def leave(self) -> None:
        """Saves what it has and answers it as preempted; what is being published goes on."""
        self._is_leaving = True
        while self._queue:
            self._preempt(self._queue.popleft(), None)
        self._world.timeline.after(LEAVING_SECONDS, self._leave)

    def die(self) -> None:
        """Ends the process."""
        self.book()
        self.is_alive = False
        self._version += 1

    def vanish(self) -> None:
        """Lives on where the driver does not see it."""
        self.book()
        self.is_unseen = True
        if self.is_empty:
            self.die()

    def lost_gpu_seconds(self) -> dict[str, float]:
        """Device seconds of all that is not answered, by asset id, as far as no checkpoint keeps
        them."""
        self._advance()
        scenes = filter(None, self._open.values())
        return {scene.attempt.task.asset_id: scene.lost_gpu_seconds for scene in scenes}

    def book(self) -> None:
        """Puts the time that its device has been busy into the books."""
        self._advance()
        account = self._world.account
        if self.is_unseen:
            account.unseen_seconds += self._gang.busy_seconds
            account.held_seconds += self._gang.busy_seconds
        else:
            account.busy_seconds += self._gang.busy_seconds
        self._gang.busy_seconds = 0.0

    def _advance(self) -> None:
        self._gang.advance(self._world.timeline.now())

    def _go_on(self) -> None:
        """Fills the slots and plans the next end."""
        gang = self._gang
        while self._queue and len(gang.scenes) < gang.num_slots:
            attempt = self._queue.popleft()
            scene = self._open[attempt.attempt_id] = self._scene(attempt)
            gang.admit(scene)
        self._version += 1
        seconds = gang.seconds_to_end()
        if seconds is not None:
            self._world.timeline.after(seconds, partial(self._end, self._version))

    def _scene(self, attempt: Attempt) -> Scene:
        self._world.account.num_attempts += 1
        row = attempt.task.prompt.row
        end = self._world.draws.end(row, is_frugal=attempt.is_frugal)
        if self._ailment is not None:
            end = End(fate=self._ailment, part=_AILING_PART)
        work = self._world.draws.work(row)
        kept_work, kept_gpu_seconds = self._resume(attempt)
        return Scene(
            attempt=attempt,
            work=work,
            work_at_end=kept_work + end.part * (work - kept_work),
            fate=end.fate,
            work_done=kept_work,
            gpu_seconds=kept_gpu_seconds,
            kept_work=kept_work,
            kept_gpu_seconds=kept_gpu_seconds,
        )

    def _resume(self, attempt: Attempt) -> tuple[float, float]:
        """Work and device seconds that a checkpoint keeps."""
        if not attempt.may_resume:
            return 0.0, 0.0
        store, asset_id = self._world.store, attempt.task.asset_id
        data = persist(lambda: store.read_checkpoint(asset_id), _AT_ONCE)
        if data is None:
            return 0.0, 0.0
        self._world.account.num_resumed += 1
        return decode(data)

    def _save(self, scene: Scene, work: float, gpu_seconds: float) -> bool:
        store, asset_id = self._world.store, scene.attempt.task.asset_id
        try:
            persist(lambda: store.write_checkpoint(asset_id, encode(work, gpu_seconds)), _AT_ONCE)
        except OSError:
            return False
        self._world.account.num_checkpoints += 1
        return True

    def _end(self, version: int) -> None:
        """The first scene has come to its end, unless something has changed since."""
        if version != self._version:
            return
        self._advance()
        scene = self._gang.first()
        if scene.fate == "crash":
            self._overseer.died(self)
            return
        if scene.fate == "hang":
            self._gang.is_frozen = True
            self._version += 1
            self._overseer.hung(self)
            return
        if scene.fate in ("out_of_memory", "internal"):
            self._break(scene.fate)
        else:
            self._gang.scenes.remove(scene)
            if scene.fate == "made":
                seconds = self._world.draws.publish_seconds()
                self._world.timeline.after(seconds, partial(self._commit, scene, 0))
            else:
                self._discard(scene)
        self._go_on()

    def _discard(self, scene: Scene) -> None:
        """The scene is worth nothing, nor is its checkpoint."""
        self._remove_checkpoint(scene)
        self._answer(scene.attempt, error_kind=scene.fate, gpu_seconds=scene.gpu_seconds)

    def _break(self, kind: str) -> None:
        """All residents go. A gang of several slots that was exhausted is smaller for good; one
        that is made alone has a gang of one slot, as `Worker._shape_for` says."""
        scenes, self._gang.scenes = self._gang.scenes, []
        is_single = self._gang.num_slots == 1 or any(scene.attempt.alone for scene in scenes)
        if kind == "out_of_memory" and not is_single:
            kind, self._gang.num_slots = "gang_out_of_memory", self._gang.num_slots // 2
        elif len(scenes) > 1:
            kind = "suspect"
        for scene in scenes:
            self._answer(scene.attempt, error_kind=kind, gpu_seconds=scene.lost_gpu_seconds)

    def _commit(self, scene: Scene, number: int) -> None:
        """One try to publish; the store's refusals are waited for."""
        if not self.is_alive:
            return
        attempt, delays = scene.attempt, retry.STORE_DELAYS_SECONDS
        data = asset_bytes(attempt.task.asset_id, attempt.attempt_id)
        try:
            result = self._world.store.commit(attempt.task.asset_id, data)
        except OSError as error:
            if number < len(delays):
                again = partial(self._commit, scene, number + 1)
                self._world.timeline.after(delays[number], again)
            else:
                lost = scene.lost_gpu_seconds
                self._answer(attempt, error_kind="store", message=str(error), gpu_seconds=lost)
            return
        self._remove_checkpoint(scene)
        is_first = result == "committed"
        self._world.account.num_commits += is_first
        self._answer(
            attempt,
            status=result,
            gpu_seconds=scene.gpu_seconds,
            bytes_written=len(data) if is_first else 0,
        )

    def _leave(self) -> None:
        if not self.is_alive:
            return
        self._advance()
        scenes, self._gang.scenes = self._gang.scenes, []
        for scene in scenes:
            if self._world.assumptions.checkpoint_minutes:
                self._gang.keep(scene)
            self._preempt(scene.attempt, scene)
        self._go_on()

    def _preempt(self, attempt: Attempt, scene: Scene | None) -> None:
        self._answer(
            attempt,
            error_kind="preempted",
            gpu_seconds=scene.lost_gpu_seconds if scene else 0.0,
        )

    def _remove_checkpoint(self, scene: Scene) -> None:
        if scene.kept_gpu_seconds or scene.attempt.may_resume:
            store, asset_id = self._world.store, scene.attempt.task.asset_id
            persist(lambda: store.remove_checkpoint(asset_id), _AT_ONCE)
            scene.kept_work = scene.kept_gpu_seconds = 0.0

    def _answer(
        self,
        attempt: Attempt,
        *,
        status: Literal["committed", "duplicate", "failed"] = "failed",
        error_kind: str | None = None,
        message: str | None = None,
        gpu_seconds: float = 0.0,
        bytes_written: int = 0,
    ) -> None:
        outcome = Outcome(
            asset_id=attempt.task.asset_id,
            attempt_id=attempt.attempt_id,
            status=status,
            error_kind=error_kind,
            message=message,
            gpu_seconds=gpu_seconds,
            bytes_written=bytes_written,
        )
        self._world.timeline.after(ANSWER_SECONDS, partial(self._arrive, attempt, outcome))

    def _arrive(self, attempt: Attempt, outcome: Outcome) -> None:
        """The answer is with the driver, unless the process died meanwhile."""
        if not self.is_alive:
            self._world.account.num_unacknowledged += outcome.status == "committed"
            return
        del self._open[attempt.attempt_id]
        self._overseer.answered(self, attempt, outcome)


def encode(work: float, gpu_seconds: float) -> bytes:
    """A checkpoint: how much work and device time it keeps."""
    return f"{work!r} {gpu_seconds!r}".encode()


def decode(data: bytes) -> tuple[float, float]:
    """Inverse of `encode`."""
    work, gpu_seconds = data.split()
    return float(work), float(gpu_seconds)
