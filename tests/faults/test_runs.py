"""Whole runs with accidents, on a real cluster and every kind of place; the oracle judges."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Head, kill_machine, worker_machine
from tests.faults.conftest import MakeScene
from tests.faults.inside import Point, wait_for
from tests.faults.machines import drain
from tests.faults.places import KINDS
from tests.faults.scene import Driver, Scene
from tests.pipeline.runs import LEAVING_SECONDS

PROMPTS = ("a ball", "a cube", "a cone", "a pipe")

EVERYWHERE = pytest.mark.parametrize(
    "kind", ["local", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
"""On a local disk always, elsewhere among the slow ones."""


@EVERYWHERE
def test_without_accidents(scene: MakeScene, kind: str) -> None:
    play = scene(kind, *PROMPTS)
    code, said = play.run("--slots", 2)
    assert code == 0, said
    verdict = play.conclude()
    assert sorted(verdict.committed) == sorted(PROMPTS)
    assert (verdict.quarantined, verdict.rejected) == ([], [4])


@EVERYWHERE
def test_an_actor_is_killed(scene: MakeScene, kind: str) -> None:
    play = scene(kind, "a ball", "a cube steps 200", "a cone")
    with play.driver("--slots", 2) as driver:
        driver.wait_to_say("committed 'a ball'")
        (pid,) = play.actors_at_work()
        os.kill(pid, signal.SIGKILL)
        assert driver.wait() == 0, driver.said
    assert "lost actor" in driver.said
    assert len(play.actors()) == 2
    verdict = play.conclude(num_kills=1)
    assert len(verdict.committed) == 3


@EVERYWHERE
@pytest.mark.parametrize("point", ["before", "during", "after"])
def test_the_driver_is_killed_around_a_commit(scene: MakeScene, kind: str, point: Point) -> None:
    play = scene(kind, *PROMPTS)
    notes = play.prepare(hold=point)
    with play.place.gate(notes):
        with play.driver("--slots", 1) as driver:
            assert wait_for((notes / "held").exists, 60), driver.said
            assert driver.process.poll() is None
            driver.process.kill()
            assert driver.wait() == -signal.SIGKILL
        assert wait_for(lambda: not play.actors_at_work(), 30), "they end with their driver"
        (notes / "released").touch()
    again, said = play.run("--slots", 1)
    assert again == 0, said
    is_there = point == "after"
    assert ("1 already committed" in said) == is_there or play.place.server, said
    verdict = play.conclude(num_kills=1)
    assert verdict.num_litter == (play.place.server is None and point == "during")
    assert sorted(verdict.committed) == sorted(PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_goes_away(scene: MakeScene, head: Head, kind: str) -> None:
    play = scene(kind, "a ball", "a cube steps 100")
    with (
        worker_machine(head, num_cpus=1, num_gpus=1) as machine,
        play.driver("--gpus", 1) as driver,
    ):
        driver.wait_to_say("committed 'a ball'")
        kill_machine(machine)
        with worker_machine(head, num_cpus=1, num_gpus=1):
            assert driver.wait() == 0, driver.said
    assert "its machine went away" in driver.said
    play.conclude(num_kills=1)


@EVERYWHERE
def test_the_text_actor_is_killed_and_its_entries_are_refused(scene: MakeScene, kind: str) -> None:
    """No prompt is blamed for it."""
    play = scene(kind, *PROMPTS, *(f"{prompt} of glass" for prompt in PROMPTS))
    notes = play.prepare(has_texts=True, num_refused=6)
    with play.driver("--slots", 1) as driver:
        driver.wait_to_say("committed 'a ball'")
        (pid,) = play.encoders()
        os.kill(pid, signal.SIGKILL)
        assert driver.wait() == 0, driver.said
    assert len(play.encoders()) == 2
    assert len(list(notes.glob("refused-*"))) == 6
    assert "internal" not in driver.said
    assert not any(name.startswith("_failures/") for name in play.place.objects())
    verdict = play.conclude(num_kills=1)
    assert (len(verdict.committed), verdict.quarantined) == (8, [])


@EVERYWHERE
def test_a_machine_is_drained(scene: MakeScene, head: Head, kind: str) -> None:
    """Its actor keeps what it has and leaves; another machine goes on from there."""
    play = scene(kind, "a ball", "a cube steps 600")
    words = ["--gpus", 1, "--checkpoint-minutes", 60]
    with worker_machine(head, num_cpus=1, num_gpus=1), play.driver(*words) as driver:
        driver.wait_to_say("committed 'a ball'")
        (pid,) = play.actors_at_work()
        time.sleep(1.0)
        assert drain(head)
        with worker_machine(head, num_cpus=1, num_gpus=1):
            assert wait_for(lambda: pid not in play.actors_at_work(), 30), driver.said
            assert driver.wait() == 0, driver.said
    assert "preempted" in driver.said, driver.said
    assert max(play.resumed_steps()) > 10
    play.conclude()


@EVERYWHERE
def test_the_driver_is_told_to_leave(scene: MakeScene, kind: str) -> None:
    """In time, with checkpoints from which the next run goes on."""
    play = scene(kind, "a ball", "a cube steps 200", "a cone steps 200")
    with play.driver("--slots", 3) as driver:
        driver.wait_to_say("committed 'a ball'")
        asked = time.monotonic()
        driver.process.terminate()
        assert driver.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - asked <= LEAVING_SECONDS
    assert "interrupted: at least 1 of 3 assets are committed" in driver.said
    assert wait_for(lambda: not play.actors_at_work(), 10)
    assert any(name.startswith("_checkpoints/") for name in play.place.objects())
    code, said = play.run("--slots", 3)
    assert code == 0, said
    assert len(play.resumed_steps()) == 2
    verdict = play.conclude()
    assert verdict.num_litter == 0, "whoever leaves in order leaves nothing"


@pytest.fixture
def crowd(scene: MakeScene, head: Head) -> Iterator[Scene]:
    """Eight scenes for a gang of four with four exports at a time, all of which are held."""
    play = scene("local", *(f"ball {k} steps 20" for k in range(8)))
    play.environment = {**play.environment, "OMP_NUM_THREADS": "8"}
    play.prepare(holds_exports=True)
    with worker_machine(head, num_cpus=1, num_gpus=1):
        yield play


CROWDED = ("--gpus", 1, "--slots", 4, "--checkpoint-minutes", 0.0001)


def wait_for_exports(play: Scene, driver: Driver) -> None:
    """Until four are under way, and the other four scenes are done, too, and wait for them."""
    assert wait_for(lambda: len(play.done()) == 8 and len(play.exports()) >= 4, 60), driver.said
    # A fifth would begin within this time.
    time.sleep(0.5)
    assert len(play.exports()) == 4, "no more than four at a time"


@pytest.mark.slow
@pytest.mark.parametrize("has_time", [True, False])
def test_the_driver_is_told_to_leave_with_exports_under_way(crowd: Scene, has_time: bool) -> None:
    """What can be exported in time is committed; what cannot is made again, from its checkpoint."""
    with crowd.driver(*CROWDED) as driver:
        wait_for_exports(crowd, driver)
        asked = time.monotonic()
        driver.process.terminate()
        if has_time:
            crowd.accidents.touch("released")
        assert driver.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - asked <= LEAVING_SECONDS
    num_committed = 8 if has_time else 0
    assert f"at least {num_committed} of 8 assets are committed" in driver.said
    assert wait_for(lambda: not crowd.actors_at_work(), 10)
    crowd.accidents.touch("released")
    code, said = crowd.run(*CROWDED)
    assert code == 0, said
    assert len(set(crowd.exports())) == 8
    assert len(crowd.exports()) == (8 if has_time else 4 + 8)
    assert bool(crowd.resumed_steps()) != has_time
    verdict = crowd.conclude()
    assert (len(verdict.committed), verdict.num_litter) == (8, 0)


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
def test_an_actor_is_told_to_leave_with_exports_under_way(crowd: Scene, is_killed: bool) -> None:
    """By its machine, and not by the driver: it goes on, until its machine kills it."""
    with crowd.driver(*CROWDED) as driver:
        wait_for_exports(crowd, driver)
        (pid,) = crowd.actors_at_work()
        os.kill(pid, signal.SIGTERM)
        if is_killed:
            time.sleep(1.0)
            os.kill(pid, signal.SIGKILL)
            assert wait_for(lambda: pid not in crowd.actors_at_work(), 10)
        crowd.accidents.touch("released")
        assert driver.wait() == 0, driver.said
    assert ("lost actor-0 with 8 prompts" in driver.said) == is_killed, driver.said
    assert len(set(crowd.exports())) == 8
    assert len(crowd.exports()) == (4 + 8 if is_killed else 8)
    verdict = crowd.conclude(num_kills=is_killed)
    assert (len(verdict.committed), verdict.num_litter) == (8, 0)


@EVERYWHERE
def test_an_actor_hangs(scene: MakeScene, kind: str) -> None:
    """Nine seconds of standing still are no slow server, not even beside other work."""
    play = scene(kind, "a ball", "hang", "a cone")
    with play.driver("--slots", 3, "--hang-minutes", 0.15) as driver:
        assert driver.wait() == 3, driver.said
    assert "hung" in driver.said
    verdict = play.conclude(num_kills=2)
    assert verdict.quarantined == ["hang"]


@EVERYWHERE
def test_poison_prompts_take_nobody_with_them(scene: MakeScene, kind: str) -> None:
    poison = ["kill", "diverge", "no export"]
    play = scene(kind, "a ball", *poison, "a cube", "a cone")
    code, said = play.run("--slots", 3)
    assert code == 3, said
    verdict = play.conclude(num_kills=2)
    assert sorted(verdict.quarantined) == sorted(poison)


@EVERYWHERE
def test_two_drivers_that_share_an_output(scene: MakeScene, kind: str) -> None:
    """Both do the whole manifest; of each asset there is one."""
    play = scene(kind, *PROMPTS)
    notes = play.prepare(hold="before")
    with play.driver("--slots", 4, "--share") as one:
        assert wait_for((notes / "held").exists, 60), one.said
        with play.driver("--slots", 4, "--share", address="") as two:
            assert two.wait() == 0, two.said
        (notes / "released").touch()
        assert one.wait() == 0, one.said
    assert "4 assets to make" in one.said
    assert "4 assets to make" in two.said
    assert one.said.count("] duplicate") >= 1
    play.conclude()


@EVERYWHERE
def test_two_drivers_that_do_not_share(scene: MakeScene, kind: str) -> None:
    """The second leaves in one line and may be repeated; killed, the first hands over at once."""
    play = scene(kind, "a ball", "a cube")
    notes = play.prepare(hold="before")
    with play.driver() as one:
        assert wait_for((notes / "held").exists, 60), one.said
        code, said = play.run()
        assert code == 1, said
        (line,) = said.splitlines()
        assert line.startswith("dreambatch: error: run ")
        assert "--share" in line
        assert one.process.poll() is None, one.said
        one.process.kill()
        one.wait()
    code, said = play.run()
    assert code == 0, said
    play.conclude(num_kills=1)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("gs", 503),
        ("s3", 429),
        pytest.param("gs", 429, marks=pytest.mark.slow),
        pytest.param("s3", 503, marks=pytest.mark.slow),
    ],
)
def test_the_store_refuses_for_a_while(scene: MakeScene, kind: str, status: int) -> None:
    play = scene(kind, *PROMPTS)
    notes = play.prepare(hold="before")
    server = play.place.server
    assert server is not None
    with play.driver("--slots", 1) as driver:
        assert wait_for((notes / "held").exists, 60), driver.said
        server.fail_next(4, status)
        (notes / "released").touch()
        assert driver.wait() == 0, driver.said
    assert server.num_pending == 0
    verdict = play.conclude()
    assert verdict.quarantined == []


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_the_store_loses_answers(scene: MakeScene, kind: str) -> None:
    """The request that is repeated meets its own object, and knows it."""
    play = scene(kind, *PROMPTS)
    notes = play.prepare(hold="before")
    server = play.place.server
    assert server is not None
    with play.driver("--slots", 1) as driver:
        assert wait_for((notes / "held").exists, 60), driver.said
        before = server.num_conflicts
        server.lose_answers(1)
        (notes / "released").touch()
        assert driver.wait() == 0, driver.said
    assert server.num_pending == 0
    assert server.num_conflicts > before
    assert "duplicate" not in driver.said
    play.conclude()


def test_the_disk_is_full_for_a_while(scene: MakeScene) -> None:
    play = scene("local", *PROMPTS)
    notes = play.prepare(num_full=2)
    code, said = play.run("--slots", 1)
    assert code == 0, said
    assert len(list(notes.glob("full-*"))) == 2
    play.conclude()


@pytest.mark.slow
def test_the_disk_stays_full(scene: MakeScene) -> None:
    """Nobody is blamed: the run ends in one line and goes on when there is room."""
    play = scene("local", "a ball")
    play.prepare(num_full=10_000)
    code, said = play.run("--slots", 1)
    assert code == 1, said
    assert "Traceback" not in said
    assert "No space left" in said
    play.prepare(num_full=0)
    code, said = play.run("--slots", 1)
    assert code == 0, said
    assert play.conclude().quarantined == []


def test_the_disk_is_full_when_the_driver_starts(scene: MakeScene) -> None:
    play = scene("local", *PROMPTS)
    play.prepare(num_full=10_000, is_driver_full=True)
    code, said = play.run()
    assert code == 1, said
    assert "Traceback" not in said
    assert "No space left" in said
    play.prepare(num_full=0, is_driver_full=False)
    code, said = play.run()
    assert code == 0, said
    play.conclude()


def test_a_supervised_run_outlives_its_driver(scene: MakeScene) -> None:
    play = scene("local", "a ball", "a cube steps 300", "diverge")
    with play.driver("--slots", 2, before=("supervise", "--")) as supervisor:
        supervisor.wait_to_say("committed 'a ball'")
        (driver,) = play.drivers_at_work()
        os.kill(driver, signal.SIGKILL)
        assert supervisor.wait() == 0, supervisor.said
    assert "ended with code 137" in supervisor.said
    assert "1 new asset;" in supervisor.said, supervisor.said
    assert "code 3 in summary.json" in supervisor.said
    assert play.conclude(num_kills=1).quarantined == ["diverge"]


def test_a_supervised_run_leaves_when_it_is_told(scene: MakeScene) -> None:
    play = scene("local", "a ball", "a cube steps 200")
    with play.driver("--slots", 2, before=("supervise", "--")) as supervisor:
        supervisor.wait_to_say("committed 'a ball'")
        (driver,) = play.drivers_at_work()
        supervisor.process.terminate()
        assert supervisor.wait() == 143
    assert not Path(f"/proc/{driver}").exists()
    assert "interrupted: at least 1 of 2" in supervisor.said, "it was killed for being late"
    assert wait_for(lambda: not play.actors_at_work(), 10)


def test_quarantined_prompts_are_let_in_again(scene: MakeScene) -> None:
    play = scene("local", "a ball", "diverge", "no export")
    assert play.run()[0] == 3
    assert sorted(play.conclude().quarantined) == ["diverge", "no export"]
    said = play.command("retry", "--kind", "diverged")
    assert said.startswith("let in again: 1 prompt (1 diverged)")
    code, said = play.run()
    assert code == 3, said
    assert "1 asset to make, 1 already committed" in said
    assert len(play.failures("diverge")) == 6, "it has as many attempts as the first time"
    play.conclude()
