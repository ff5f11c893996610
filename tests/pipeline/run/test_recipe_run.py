from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from engine import slots
from pipeline.commands.run import parse
from pipeline.fleet.cluster import Cluster
from pipeline.run import recipe_run
from pipeline.run.job import Job, prepare
from pipeline.run.recipe_run import (
    MOST_SLOTS,
    Factories,
    is_worth_compiling,
    slots_of,
    uses_gpus,
)
from pipeline.settings import RunSettings
from tests.pipeline.fake_engine import FakeEngine
from tests.pipeline.runs import write_hollow_weights, write_manifest


class Machine(Cluster):
    """A cluster of one machine, which nobody needs to join; `num_gpus` None: may not be asked."""

    def __init__(self, *, num_cores: int = 8, num_gpus: int | None) -> None:
        super().__init__()
        self._cores, self._gpus = num_cores, num_gpus

    def _machines(self) -> list[Mapping[str, float]]:
        assert self._gpus is not None, "no cluster was joined"
        return [{"CPU": self._cores, "GPU": self._gpus}]


def job_of(tmp_path: Path, prompts: list[str], gpus: int | None = None) -> Job:
    settings = RunSettings(
        manifest=str(write_manifest(tmp_path / "m.parquet", prompts)),
        output=str(tmp_path / "out"),
        recipe="smoke",
        guidance=str(write_hollow_weights(tmp_path / "weights")),
        gpus=gpus,
    )
    return prepare(settings, has_gpus=lambda: False)


@pytest.mark.parametrize(
    ("prompts", "asked", "there", "expected"),
    [
        (["a"], None, 1, True),
        (["a"], None, 0, False),
        (["a"], 2, 0, True),  # they may still have to come
        ([""], None, None, False),
    ],
)
def test_who_works_on_gpus(
    tmp_path: Path, prompts: list[str], asked: int | None, there: int | None, expected: bool
) -> None:
    assert uses_gpus(job_of(tmp_path, prompts, asked), Machine(num_gpus=there)) == expected


@pytest.mark.parametrize(
    ("num_cores", "num_gpus", "expected"), [(8, 1, 4), (8, 2, 2), (64, 1, 6), (8, 0, 1)]
)
def test_an_actor_exports_for_half_of_its_cores_beside_a_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_cores: int,
    num_gpus: int,
    expected: int,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job, cluster = job_of(tmp_path, ["a"]), Machine(num_cores=num_cores, num_gpus=num_gpus)
    use_gpu, factories = uses_gpus(job, cluster), Factories(FakeEngine, None)
    spec = recipe_run._spec(job, cluster, factories, "smoke", 1, use_gpu=use_gpu)
    assert spec.num_exports == expected


@pytest.mark.parametrize(
    ("asked", "recipe", "use_gpu", "expected"),
    [
        (None, 8, True, (8, False)),
        (3, 8, True, (3, False)),
        ("auto", 8, True, (MOST_SLOTS, True)),
        ("auto", 40, True, (40, True)),
        # A CPU has nothing to measure.
        ("auto", 2, False, (2, False)),
        (4, 2, False, (4, False)),
    ],
)
def test_who_decides_on_the_slots(
    asked: int | Literal["auto"] | None, recipe: int, use_gpu: bool, expected: tuple[int, bool]
) -> None:
    assert slots_of(asked, recipe, use_gpu=use_gpu) == expected


def test_the_engine_s_benchmarks_go_up_to_as_many() -> None:
    assert slots.MOST == MOST_SLOTS


@pytest.mark.parametrize(
    ("words", "expected"), [([], None), (["--slots", "4"], 4), (["--slots", "auto"], "auto")]
)
def test_slots_are_a_number_or_auto(words: list[str], expected: object) -> None:
    settings = parse(["--manifest", "m", "--output", "o", *words], prog="run")
    assert settings.slots == expected
    settings.check()


@pytest.mark.parametrize(
    ("num_scenes", "num_slots", "iterations", "expected"),
    [(1, 4, 5000, True), (4, 4, 400, False), (80, 8, 400, True), (72, 8, 400, False)],
)
def test_networks_are_compiled_for_thousands_of_steps(
    num_scenes: int, num_slots: int, iterations: int, expected: bool
) -> None:
    assert is_worth_compiling(num_scenes, num_slots, iterations) == expected
