"""A run that has accidents: manifest, output, cluster, and the processes that play in it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.clusters import ROOT, is_running, wait_until_gone
from tests.faults import oracle
from tests.faults.inside import Accidents, wait_for
from tests.faults.oracle import Verdict
from tests.faults.places import Place
from tests.pipeline.runs import write_manifest

RUN_SECONDS = 120.0
NOWHERE = "127.0.0.1:1"
"""No such cluster: whoever tries to join it waits for minutes and fails."""


@dataclass(kw_only=True)
class Driver:
    """A `dreambatch` process, and the file that takes what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All that it said so far."""
        return self.log.read_text()

    def wait(self, seconds: float = RUN_SECONDS) -> int:
        """Its exit code, once it has one."""
        return self.process.wait(seconds)

    def wait_to_say(self, text: str, seconds: float = 60.0) -> None:
        """Returns when it has said that."""
        found = wait_for(lambda: text in self.said or self.process.poll() is not None, seconds)
        assert found, f"not said in {seconds} s: {text}\n{self.said}"
        assert text in self.said, f"ended without saying {text}:\n{self.said}"


@dataclass(kw_only=True)
class Scene:
    """One output and its manifest. `environment` names the cluster."""

    directory: Path
    place: Place
    manifest: Path
    weights: Path
    environment: Mapping[str, str]
    accidents: Accidents = field(init=False)
    _num_drivers: int = 0

    def __post_init__(self) -> None:
        notes = self.directory / "notes"
        notes.mkdir(parents=True)
        self.accidents = Accidents(notes=str(notes))

    def prepare(self, **accidents: object) -> Path:
        """Says what is to happen; returns the directory of the notes."""
        self.accidents = replace(self.accidents, **accidents)  # pyright: ignore
        return Path(self.accidents.notes)

    @contextmanager
    def driver(
        self,
        *more: object,
        before: tuple[str, ...] = (),
        address: str | None = None,
        metrics_port: int = 0,
    ) -> Iterator[Driver]:
        """A driver at work; it is killed at the end if it still is. `before` stands before `run`:
        a supervisor."""
        self._num_drivers += 1
        log = self.directory / f"driver-{self._num_drivers}.log"
        words = ["run", "--manifest", self.manifest, "--output", self.place.url]
        words += ["--guidance", self.weights, "--recipe", "smoke", *more]
        words += ["--metrics-port", metrics_port]
        program = [sys.executable, "-W", "error", "-m", "tests.faults.inside"]
        environment = {**self.environment, **self.accidents.environment()}
        if address is not None:
            environment["RAY_ADDRESS"] = address
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*program, *before, *map(str, words)],
                env=environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield Driver(process=process, log=log)
            finally:
                process.kill()

    def run(self, *more: object, address: str | None = None) -> tuple[int, str]:
        """Exit code and words of a driver that nobody disturbs."""
        with self.driver(*more, address=address) as driver:
            return driver.wait(), driver.said

    def command(self, name: str, *words: object) -> str:
        """What another command says about the output. AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", name, "--output", self.place.url, *map(str, words)],
            env=dict(self.environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def actors(self) -> set[int]:
        """Process ids of all actors that there ever were."""
        return {int(note.name) for note in self.accidents.note("actors").glob("*")}

    def encoders(self) -> set[int]:
        """Process ids of all text actors that there ever were."""
        return {int(note.name) for note in self.accidents.note("encoders").glob("*")}

    def drivers_at_work(self) -> set[int]:
        """Process ids of the drivers that run, under a supervisor or without."""
        notes = self.accidents.note("drivers").glob("*")
        return {pid for pid in (int(note.name) for note in notes) if is_running(pid)}

    def actors_at_work(self) -> set[int]:
        """Those that still run."""
        return {pid for pid in self.actors() if is_running(pid)}

    def failures(self, prompt: str) -> list[dict[str, object]]:
        """The records of a prompt in `_failures/`."""
        names = [name for name in self.place.objects() if name.startswith("_failures/")]
        found = [json.loads(self.place.read(name)) for name in names]
        return [failure for failure in found if failure["prompt"] == prompt]

    def done(self) -> list[str]:
        """The scenes that were done while exports were held, once a process."""
        return self._keys("done")

    def exports(self) -> list[str]:
        """The assets of which an export was begun while exports were held, once a process."""
        return self._keys("exports")

    def _keys(self, folder: str) -> list[str]:
        notes = self.accidents.note(folder).glob("*")
        return sorted(note.name.partition("-")[0] for note in notes)

    def resumed_steps(self) -> list[int]:
        """The steps at which scenes went on from a checkpoint."""
        notes = self.accidents.note("resumed").glob("*")
        return sorted(int(note.name.rpartition("-")[2]) for note in notes)

    def conclude(self, *, num_kills: int = 0, is_shared: bool = False) -> Verdict:
        """The oracle's verdict, that `status` counts the same, and that a rerun finds nothing to do
        and touches nothing.

        `num_kills`: so many processes may have left a hidden temporary behind, and the summary of
        their run, which the first rerun writes. `is_shared`: see `oracle.check`.
        """
        verdict = oracle.check(self.place, self.manifest, is_shared=is_shared)
        assert verdict.num_litter <= num_kills, f"{verdict.num_litter} hidden after {num_kills}"
        status = json.loads(self.command("status", "--json"))
        assert status["num_committed"] == len(verdict.committed), status
        assert status["num_quarantined"] == len(verdict.quarantined), status
        gone = self.actors() | self.encoders()
        assert wait_until_gone(gone, 30) == set(), "actors outlive their run"
        assets = self._assets()
        if num_kills:
            self._rerun(verdict)
        before = self.place.objects()
        self._rerun(verdict)
        after = self.place.objects()
        assert after == before, after.items() ^ before.items()
        assert self._assets() == assets, "a rerun touched assets"
        return verdict

    def _rerun(self, verdict: Verdict) -> None:
        code, said = self.run(address=NOWHERE)
        assert code == (3 if verdict.quarantined else 0), said
        assert said.startswith("nothing to do"), said

    def _assets(self) -> dict[str, object]:
        found = self.place.objects().items()
        return {name: state for name, state in found if name.startswith(("assets/", "packed/"))}


def write_prompts(path: Path, prompts: list[str]) -> Path:
    """A manifest of those prompts, and a row that is rejected."""
    return write_manifest(path, [*prompts, ""])
