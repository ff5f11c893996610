"""Scenes that share one device: the fewer they are, the faster each of them is made.

A step of n of S scenes takes the part s + (1 - s) (n - 1) / (S - 1) of one of a full gang, where s
is the share of a scene alone. The device's time is divided equally among the residents, as the
engine does it. Nothing is stepped: between two changes all that a scene has is linear in time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.records import Attempt
from pipeline.simulation.draws import Fate


@dataclass(kw_only=True, eq=False)
class Scene:
    """An attempt in a gang. `work_done` counts up to `work_at_end`, where `fate` strikes.

    `gpu_seconds` are those of earlier attempts too, as far as a checkpoint kept them;
    `kept_gpu_seconds` and `kept_work` are what the newest checkpoint holds, which is written anew
    at `next_save`.
    """

    attempt: Attempt
    work_at_end: float
    fate: Fate
    work: float
    work_done: float = 0.0
    gpu_seconds: float = 0.0
    kept_work: float = 0.0
    kept_gpu_seconds: float = 0.0
    next_save: float = math.inf

    @property
    def lost_gpu_seconds(self) -> float:
        """Device time that no checkpoint keeps."""
        return self.gpu_seconds - self.kept_gpu_seconds


class Gang:
    """Up to `num_slots` scenes; `advance` before every look and every change.

    `save` writes a checkpoint with so much work and device time; whether it could.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        single_share: float,
        save_seconds: float,
        save: Callable[[Scene, float, float], bool],
        now: float,
    ) -> None:
        self.num_slots = num_slots
        self.is_frozen = False
        """Whether its device does nothing more, and is busy with it."""
        self.scenes: list[Scene] = []
        self.busy_seconds = 0.0
        self._full = num_slots
        self._single_share = single_share
        self._save_seconds = save_seconds
        self._save = save
        self._now = now

    def advance(self, now: float) -> None:
        """Lets the scenes be optimised until `now`, and writes the checkpoints that fell due."""
        seconds, scenes = now - self._now, self.scenes
        if seconds and scenes:
            self.busy_seconds += seconds
            speed, share = self._speed(), 1.0 / len(scenes)
            for scene in scenes:
                if now >= scene.next_save and not self.is_frozen:
                    self._save_due(scene, now, speed, share)
                scene.work_done += seconds * speed
                scene.gpu_seconds += seconds * share
        self._now = now

    def admit(self, scene: Scene) -> None:
        """Begins a scene, as far as its checkpoint had come."""
        scene.next_save = self._now + self._save_seconds
        self.scenes.append(scene)

    def first(self) -> Scene:
        """The scene that ends next."""
        return min(self.scenes, key=_work_left)

    def seconds_to_end(self) -> float | None:
        """Until the first scene ends if nothing changes; None if none will."""
        if not self.scenes or self.is_frozen:
            return None
        return max(0.0, _work_left(self.first())) / self._speed()

    def keep(self, scene: Scene) -> None:
        """Writes a checkpoint of what a scene has now."""
        if self._save(scene, scene.work_done, scene.gpu_seconds):
            scene.kept_work, scene.kept_gpu_seconds = scene.work_done, scene.gpu_seconds

    def _save_due(self, scene: Scene, now: float, speed: float, share: float) -> None:
        """The newest checkpoint due until `now`: what the scene had at that moment."""
        moment = scene.next_save
        moment += (now - moment) // self._save_seconds * self._save_seconds
        work = scene.work_done + (moment - self._now) * speed
        gpu_seconds = scene.gpu_seconds + (moment - self._now) * share
        if self._save(scene, work, gpu_seconds):
            scene.kept_work, scene.kept_gpu_seconds = work, gpu_seconds
        scene.next_save = moment + self._save_seconds

    def _speed(self) -> float:
        """Work that each scene gets in a second."""
        if self.is_frozen:
            return 0.0
        if self._full == 1:
            return 1.0
        rest = (len(self.scenes) - 1) / (self._full - 1)
        return 1.0 / (self._single_share + (1.0 - self._single_share) * rest)


def _work_left(scene: Scene) -> float:
    return scene.work_at_end - scene.work_done
