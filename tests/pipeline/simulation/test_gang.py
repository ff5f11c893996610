"""The gang in closed form against one that takes ten thousand small steps."""

import math
import random

import pytest

from pipeline.records import Attempt
from pipeline.simulation.gang import Gang, Scene
from tests.pipeline.sample_assets import sample_task

SHARE = 0.4


def scene(work: float, number: int = 0) -> Scene:
    attempt = Attempt(task=sample_task(number), attempt_id="0" * 32, number=1, seed=0)
    return Scene(attempt=attempt, work=work, work_at_end=work, fate="made")


def gang_of(num_slots: int, *, save_seconds: float = math.inf, can_save: bool = True) -> Gang:
    return Gang(
        num_slots=num_slots,
        single_share=SHARE,
        save_seconds=save_seconds,
        save=lambda scene, work, gpu_seconds: can_save,
        now=0.0,
    )


def test_one_alone_takes_its_share_of_the_time() -> None:
    gang = gang_of(8)
    gang.admit(scene(100.0))
    assert gang.seconds_to_end() == pytest.approx(40.0)


def test_a_full_gang_takes_as_long_as_the_work_says() -> None:
    gang = gang_of(4)
    for number in range(4):
        gang.admit(scene(100.0 + number, number))
    assert gang.seconds_to_end() == pytest.approx(100.0)
    gang.advance(100.0)
    assert gang.busy_seconds == 100.0
    assert [x.gpu_seconds for x in gang.scenes] == [25.0] * 4


def test_scenes_that_come_and_go_are_as_far_as_small_steps_bring_them() -> None:
    world = random.Random(3)
    gang, step, now = gang_of(4), 0.01, 0.0
    done: dict[int, float] = {}
    spent: dict[int, float] = {}
    for turn in range(30):
        if len(gang.scenes) < 4 and world.random() < 0.6:
            newcomer = scene(1e9, turn)
            gang.admit(newcomer)
            done[id(newcomer)] = spent[id(newcomer)] = 0.0
        elif gang.scenes:
            gang.scenes.remove(world.choice(gang.scenes))
        num_steps = world.randrange(1, 300)
        count = len(gang.scenes)
        for _ in range(num_steps):
            for resident in gang.scenes:
                time_of_step = SHARE + (1 - SHARE) * (count - 1) / 3
                done[id(resident)] += step / time_of_step
                spent[id(resident)] += step / count
        now += num_steps * step
        gang.advance(now)
        for resident in gang.scenes:
            assert resident.work_done == pytest.approx(done[id(resident)])
            assert resident.gpu_seconds == pytest.approx(spent[id(resident)])


def test_a_checkpoint_holds_what_there_was_when_it_was_due() -> None:
    gang = gang_of(1, save_seconds=10.0)
    gang.admit(scene(100.0))
    gang.advance(37.0)
    (resident,) = gang.scenes
    assert (resident.kept_work, resident.kept_gpu_seconds) == (30.0, 30.0)
    assert resident.lost_gpu_seconds == 7.0
    gang.advance(40.0)
    assert resident.kept_work == 40.0


def test_a_checkpoint_that_cannot_be_written_keeps_nothing() -> None:
    gang = gang_of(1, save_seconds=10.0, can_save=False)
    gang.admit(scene(100.0))
    gang.advance(37.0)
    assert gang.scenes[0].kept_work == 0.0


def test_a_frozen_gang_is_busy_with_nothing() -> None:
    gang = gang_of(2, save_seconds=10.0)
    gang.admit(scene(100.0))
    gang.advance(5.0)
    gang.is_frozen = True
    done = gang.scenes[0].work_done
    gang.advance(50.0)
    assert gang.seconds_to_end() is None
    assert gang.scenes[0].work_done == done
    assert gang.scenes[0].lost_gpu_seconds == gang.busy_seconds == 50.0
