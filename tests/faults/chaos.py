"""`python -m tests.faults.chaos --minutes 20 --seed S`: random accidents, until the time is over.

In each round a supervised run makes some scores of prompts, a few of them poison, on a cluster of
three machines and one kind of place, while accidents happen at random. Then it is left in peace to
finish, and the oracle judges. All that is drawn comes from the seed; when it hits what does not.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import Head
from tests.faults import places
from tests.faults.machines import Machine, drain
from tests.faults.places import KINDS, Places
from tests.faults.scene import Driver, Scene, write_prompts
from tests.pipeline.runs import write_hollow_weights

NUM_MACHINES = 3
ROUND_SECONDS = 100.0
"""For how long accidents go on in one round."""
PEACE_SECONDS = 300.0
"""How long a run may take to finish once nothing happens to it any more."""
POISON = ("kill", "hang", "diverge", "break", "no export", "too much memory", "much memory")
"""What prompts say that end in quarantine; the last one only needs a frugal gang."""


@dataclass(kw_only=True)
class Round:
    """What was done in one round, and what came of it."""

    number: int
    kind: str
    num_prompts: int
    accidents: dict[str, int] = field(default_factory=dict)
    num_starts: int = 0
    num_resumed: int = 0
    num_committed: int = 0
    quarantined: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""
    """Why the oracle, or the run itself, says no."""


class Mischief:
    """What can happen to a round's run. Each accident returns whether it could happen."""

    def __init__(
        self, rng: random.Random, head: Head, machines: Sequence[Machine], scene: Scene
    ) -> None:
        self._rng = rng
        self._head = head
        self._machines = machines
        self._scene = scene
        self._guests = ExitStack()
        self.kinds: dict[str, Callable[[], bool]] = {
            "actor killed": self._kill_actor,
            "driver killed": lambda: self._signal_driver(signal.SIGKILL),
            "driver told to leave": lambda: self._signal_driver(signal.SIGTERM),
            "machine killed": self._kill_machine,
            "machine drained": self._drain_machine,
            "second driver": self._second_driver,
        }
        if scene.place.server is None:
            self.kinds["disk full"] = self._fill_disk
        else:
            self.kinds |= {
                "answers 503": lambda: self._fail(503),
                "answers 429": lambda: self._fail(429),
                "answers lost": self._lose_answers,
            }

    def strike(self) -> str | None:
        """One accident; its name, None if there was nothing to hit."""
        name = self._rng.choice(sorted(self.kinds))
        return name if self.kinds[name]() else None

    def repair(self) -> None:
        """Switches on what is off."""
        for machine in self._machines:
            if not machine.is_on:
                machine.switch_on()

    def end(self) -> None:
        """All is well again, and guests are gone."""
        self._guests.close()
        self._scene.accidents.note("full").unlink(missing_ok=True)
        if self._scene.place.server is not None:
            self._scene.place.server.heal()
        self.repair()

    def _kill_actor(self) -> bool:
        return self._signal(sorted(self._scene.actors_at_work()), signal.SIGKILL)

    def _signal_driver(self, signum: int) -> bool:
        return self._signal(sorted(self._scene.drivers_at_work()), signum)

    def _signal(self, pids: Sequence[int], signum: int) -> bool:
        if not pids:
            return False
        try:
            os.kill(self._rng.choice(pids), signum)
        except ProcessLookupError:
            return False
        return True

    def _kill_machine(self) -> bool:
        on = [machine for machine in self._machines if machine.is_on]
        if len(on) < 2:
            return False
        self._rng.choice(on).kill()
        return True

    def _drain_machine(self) -> bool:
        if sum(machine.is_on for machine in self._machines) < 2:
            return False
        return drain(self._head, self._rng.randrange(NUM_MACHINES))

    def _second_driver(self) -> bool:
        if len(self._scene.drivers_at_work()) != 1:
            return False
        self._guests.enter_context(self._scene.driver("--gpus", 1, "--share"))
        return True

    def _fill_disk(self) -> bool:
        full = self._scene.accidents.note("full")
        full.touch()
        time.sleep(self._rng.uniform(0.5, 4.0))
        full.unlink()
        return True

    def _fail(self, status: int) -> bool:
        assert self._scene.place.server is not None
        self._scene.place.server.fail_next(self._rng.randint(1, 30), status)
        return True

    def _lose_answers(self) -> bool:
        assert self._scene.place.server is not None
        self._scene.place.server.lose_answers(self._rng.randint(1, 4))
        return True


def draw_prompts(rng: random.Random, number: int) -> list[str]:
    """Prompts of 5 to 300 steps of 20 ms, and one of each poison."""
    prompts = [f"a ball, number {k}, steps {rng.randint(5, 300)}" for k in range(number)]
    prompts += [f"{poison} {number}" for poison in POISON]
    rng.shuffle(prompts)
    return prompts


def play(result: Round, rng: random.Random, head: Head, scene: Scene, seconds: float) -> None:
    """Plays one round into `result`."""
    began = time.monotonic()
    words = ["--gpus", NUM_MACHINES, "--slots", 4, "--share"]
    words += ["--checkpoint-minutes", 0.02, "--hang-minutes", 0.1]
    supervisor = ("supervise", "--attempts", "1000", "--")
    with ExitStack() as stack:
        machines = [stack.enter_context(Machine(head=head)) for _ in range(NUM_MACHINES)]
        driver = stack.enter_context(scene.driver(*words, before=supervisor))
        mischief = Mischief(rng, head, machines, scene)
        while time.monotonic() - began < seconds and driver.process.poll() is None:
            time.sleep(rng.uniform(0.5, 8.0))
            name = mischief.strike()
            if name is not None:
                result.accidents[name] = result.accidents.get(name, 0) + 1
                print(f"  {time.monotonic() - began:5.0f} s  {name}", flush=True)
            if rng.random() < 0.5:
                mischief.repair()
        mischief.end()
        wait_in_peace(driver, mischief)
        judge(result, scene, driver)
    result.seconds = time.monotonic() - began


def wait_in_peace(driver: Driver, mischief: Mischief) -> None:
    """Lets the run finish. Ray may fail to start a machine that came back too soon: it is switched
    on again."""
    end = time.monotonic() + PEACE_SECONDS
    while driver.process.poll() is None and time.monotonic() < end:
        mischief.repair()
        time.sleep(1.0)
    assert driver.process.poll() is not None, (
        f"not over after {PEACE_SECONDS:.0f} s of peace:\n{driver.said[-3000:]}"
    )


def judge(result: Round, scene: Scene, driver: Driver) -> None:
    """Asks the oracle about a run that is over."""
    code = driver.wait()
    assert code == 0, f"supervise ended with {code}:\n{driver.said[-3000:]}"
    assert "Traceback" not in driver.said, driver.said
    # Who is killed between a commit and the removal of its checkpoint leaves that behind.
    scene.command("gc")
    verdict = scene.conclude(
        num_kills=sum(result.accidents.values()) * NUM_MACHINES,
        is_shared="second driver" in result.accidents,
    )
    result.num_starts = driver.said.count("it starts again") + 1
    result.num_resumed = len(scene.resumed_steps())
    result.num_committed = len(verdict.committed)
    result.quarantined = sorted(verdict.quarantined)


def table(results: Sequence[Round]) -> str:
    """What was done in each round, and the verdict."""
    lines = []
    for x in results:
        done = ", ".join(f"{count} x {name}" for name, count in sorted(x.accidents.items()))
        lines += [
            f"round {x.number}: {x.kind}, {x.num_prompts} prompts, {x.seconds:.0f} s: "
            f"{'LOST: ' + x.error if x.error else 'nothing lost'}",
            f"  accidents    {done}",
            f"  driver       started {x.num_starts} times",
            f"  scenes       {x.num_resumed} went on from a checkpoint",
            f"  committed    {x.num_committed}",
            f"  quarantined  {', '.join(x.quarantined)}",
        ]
    total = sum((Counter(x.accidents) for x in results), Counter[str]())
    lines.append(f"{total.total()} accidents in {len(results)} rounds")
    lines += [f"  {count:4}  {name}" for name, count in total.most_common()]
    return "\n".join(lines)


def run(directory: Path, *, minutes: float, seed: int, kinds: Sequence[str]) -> list[Round]:
    """Rounds until the minutes are over; ends at the first that is lost."""
    rng, end = random.Random(seed), time.monotonic() + 60 * minutes
    results: list[Round] = []
    with places.serve(directory) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        weights = write_hollow_weights(directory / "weights")
        with clusters.head(num_cpus=1) as head:
            while (left := end - time.monotonic()) > 0 and not (results and results[-1].error):
                kind = kinds[len(results) % len(kinds)]
                seconds = min(ROUND_SECONDS, left)
                prompts = draw_prompts(rng, round(seconds * 0.8))
                result = Round(number=len(results) + 1, kind=kind, num_prompts=len(prompts))
                results.append(result)
                print(f"round {result.number}: {kind}, {len(prompts)} prompts", flush=True)
                scene = _scene(directory, found, head, weights, kind, prompts, result.number)
                try:
                    play(result, rng, head, scene, seconds)
                except Exception as error:
                    result.error = _origin(error)
    return results


def _origin(error: BaseException) -> str:
    """What went wrong first; clearing up after it may have failed as well."""
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _scene(
    directory: Path,
    found: Places,
    head: Head,
    weights: Path,
    kind: str,
    prompts: list[str],
    number: int,
) -> Scene:
    own = directory / f"round-{number}"
    own.mkdir()
    return Scene(
        directory=own,
        place=found.empty(kind),
        manifest=write_prompts(own / "manifest.parquet", prompts),
        weights=weights,
        environment={**os.environ, **head.environment(), **found.environment},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("out/chaos.json"))
    told = parser.parse_args(arguments)
    print(f"seed {told.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"outputs and logs in {directory}, until all is well", flush=True)
    results = run(directory, minutes=told.minutes, seed=told.seed, kinds=told.kinds)
    is_lost = any(result.error for result in results)
    if not is_lost:
        shutil.rmtree(directory)
    print(table(results))
    told.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"seed": told.seed, "minutes": told.minutes, "rounds": [asdict(x) for x in results]}
    told.out.write_text(json.dumps(record, indent=2) + "\n")
    print(f"recorded in {told.out}; again with --seed {told.seed}")
    return int(is_lost)


if __name__ == "__main__":
    sys.exit(main())
