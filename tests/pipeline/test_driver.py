"""Whole runs on a real cluster, with an engine that obeys its prompts."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clusters import (
    Head,
    cpu_seconds,
    descendants,
    driver_environment,
    kill_machine,
    named,
    short_directory,
    wait_until_gone,
    worker_machine,
)
from tests.pipeline.runs import (
    LEAVING_SECONDS,
    command,
    dreambatch,
    failures,
    rows,
    summary,
    write_hollow_weights,
    write_manifest,
)

SHEET = "contact_sheet.png"
MOST_CPU_SECONDS = 1.0 / 50.0
"""Of driver and actor together for an asset that takes none to make: fifty a second of one core."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hollow_weights(tmp_path_factory.mktemp("weights"))


def arguments(manifest: Path, output: Path, weights: Path, *more: object) -> list[object]:
    common = ["--guidance", weights, "--recipe", "smoke", "--metrics-port", 0]
    return ["run", "--manifest", manifest, "--output", output, *common, *more]


def test_three_prompts_and_nothing_to_do_the_second_time(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    columns: dict[str, list[object]] = {"seed": [7, 1, 2], "collection": ["x", "y", None]}
    prompts = ["a ball diverge with seed 7", "a cube", "a cone"]
    manifest = write_manifest(tmp_path / "m.parquet", prompts, **columns)
    out = tmp_path / "out"
    first = dreambatch(*arguments(manifest, out, weights), environment=ray_head.environment())
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    assert "\x1b" not in first.stdout
    found = rows(out, "seed", "seed_used", "attempts", "collection")
    assert [(row["prompt"], row["attempts"], row["collection"]) for row in found] == [
        ("a ball diverge with seed 7", 2, "x"),
        ("a cone", 1, None),
        ("a cube", 1, "y"),
    ]
    assert [row["seed"] == row["seed_used"] for row in found] == [False, True, True]
    report = summary(out)
    assert (report["exit_code"], report["num_committed"], report["num_remaining"]) == (0, 3, 0)
    details = report["details"]
    assert isinstance(details, dict)
    assert details["metrics"]['dreambatch_assets_total{status="committed"}'] == 3
    assert (out / "catalog").is_dir()
    assert (out / SHEET).is_file()
    assert "done in" in first.stdout
    assert str(out / SHEET) in first.stdout

    # No such cluster: whoever tries to join it waits for minutes and fails.
    nowhere = driver_environment() | {"RAY_ADDRESS": "127.0.0.1:1"}
    before = sorted(path for path in out.rglob("*"))
    second = dreambatch(*arguments(manifest, out, weights), environment=nowhere)
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.startswith("nothing to do: 3 committed, 0 quarantined, 0 rejected")
    assert sorted(path for path in out.rglob("*")) == before

    # As if the first had been killed after its last commit.
    for path in (*out.glob("_runs/*/summary.json"), *out.glob("catalog/*"), out / SHEET):
        path.unlink()
    third = dreambatch(*arguments(manifest, out, weights), environment=nowhere)
    assert third.returncode == 0, third.stdout + third.stderr
    assert sorted(path for path in out.rglob("*")) == before
    assert (summary(out)["exit_code"], summary(out)["num_committed"]) == (0, 3)


def test_what_may_not_be_as_the_user_thinks_is_said_before_work_begins(
    ray_head: Head, tmp_path: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a unicorn"])
    words = ["run", "--manifest", manifest, "--output", tmp_path / "out", "--metrics-port", 0]
    done = dreambatch(*words, "--recipe", "primitives", environment=ray_head.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    first, foreign, hint, *others = done.stdout.splitlines()
    assert first.startswith("1 asset to make; recipe primitives, 1 actor")
    assert foreign == (
        "1 row has words that say nothing to the embedded model: 'unicorn' (prompt, row 0)"
    )
    assert "--recipe primitives_cpu" in hint
    assert any("committed 'a unicorn'" in line for line in others)
    assert f"  foreign words  {foreign}" in others


def test_a_poison_prompt_takes_nobody_with_it(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    prompts = ["a ball", "kill", "a cube", "", "a cone", "diverge"]
    manifest = write_manifest(tmp_path / "m.parquet", prompts)
    out = tmp_path / "out"
    done = dreambatch(*arguments(manifest, out, weights), environment=ray_head.environment())
    assert done.returncode == 3, done.stdout + done.stderr
    assert [row["prompt"] for row in rows(out)] == ["a ball", "a cone", "a cube"]
    kept = failures(out)
    deaths = [failure for failure in kept if failure["error_kind"] == "actor_died"]
    assert {failure["prompt"] for failure in deaths} == {"kill"}
    given_up = {failure["prompt"]: failure for failure in kept if failure["quarantined"]}
    assert {prompt: f["error_kind"] for prompt, f in given_up.items()} == {
        "kill": "actor_died",
        "diverge": "diverged",
    }
    assert given_up["diverge"]["attempts"] == 3
    assert (out / "_rejected").is_dir()
    report = summary(out)
    assert (report["exit_code"], report["num_quarantined"], report["num_rejected"]) == (3, 2, 1)
    assert "lost actor-0 with 3 prompts" in done.stdout
    assert f"{out}/_failures" in done.stdout
    again = dreambatch(*arguments(manifest, out, weights), environment=driver_environment())
    assert again.returncode == 3
    assert again.stdout.startswith("nothing to do: 3 committed, 2 quarantined")


def test_a_driver_that_is_killed_is_started_again_and_subtracts(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a slow cube", "a cone"])
    out = tmp_path / "out"
    words = arguments(manifest, out, weights, "--slots", 1)
    environment = ray_head.environment()
    with subprocess.Popen(
        command(*words), env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "committed 'a ball'" in line)
        process.kill()
    assert [row["prompt"] for row in rows(out)] == ["a ball"]
    assert not list(out.glob("_runs/*/summary.json"))
    again = dreambatch(*words, environment=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "2 assets to make, 1 already committed" in again.stdout
    assert "3 committed (2 in this run)" in again.stdout
    assert [row["attempts"] for row in rows(out, "attempts")] == [1, 1, 1]
    assert len(list((out / "_runs").iterdir())) == 2


def test_an_engine_that_cannot_be_loaded_is_said_once(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball"])
    environment = ray_head.environment() | {"FAKE_ENGINE": "unloadable"}
    done = dreambatch(*arguments(manifest, tmp_path / "out", weights), environment=environment)
    assert done.returncode == 1
    assert re.fullmatch(
        r"dreambatch: error: no actor can work: ValueError: the weights cannot be read; "
        r"[^\n]*\n",
        done.stderr,
    )
    assert summary(tmp_path / "out")["exit_code"] == 1


def test_an_engine_that_kills_its_process_is_not_tried_for_ever(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball"])
    environment = ray_head.environment() | {"FAKE_ENGINE": "fatal"}
    done = dreambatch(*arguments(manifest, tmp_path / "out", weights), environment=environment)
    assert done.returncode == 1
    assert "no actor can work: it died while loading: " in done.stderr


def test_recipes_of_rows_are_run_one_after_another(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    recipe: list[object] = ["primitives_cpu", None, "primitives_cpu", "smoke"]
    prompts = ["a ball", "a cube", "a cone", "a pipe"]
    manifest = write_manifest(tmp_path / "m.parquet", prompts, recipe=recipe)
    out = tmp_path / "out"
    done = dreambatch(*arguments(manifest, out, weights), environment=ray_head.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["prompt"]: row["recipe"] for row in rows(out, "recipe")} == {
        "a ball": "primitives_cpu",
        "a cube": "smoke",
        "a cone": "primitives_cpu",
        "a pipe": "smoke",
    }


def test_two_gpus_share_the_prompts(ray_head: Head, tmp_path: Path, weights: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [f"a slow ball {k}" for k in range(4)])
    out = tmp_path / "out"
    with worker_machine(ray_head, num_cpus=2, num_gpus=2):
        done = dreambatch(
            *arguments(manifest, out, weights, "--gpus", 2, "--slots", 3),
            environment=ray_head.environment(),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 actors" in done.stdout
    devices = [row["device"] for row in rows(out, "device")]
    assert sorted(map(devices.count, set(devices))) == [2, 2]


def test_a_lost_machine_costs_time_and_nobody_is_blamed(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    prompts = ["a ball", "a cube steps 200", "a cone steps 200"]
    manifest = write_manifest(tmp_path / "m.parquet", prompts)
    out = tmp_path / "out"
    words = arguments(manifest, out, weights, "--gpus", 1)
    with (
        worker_machine(ray_head, num_cpus=1, num_gpus=1) as machine,
        subprocess.Popen(
            command(*words),
            env=ray_head.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        next(line for line in process.stdout if "committed 'a ball'" in line)
        kill_machine(machine)
        with worker_machine(ray_head, num_cpus=1, num_gpus=1):
            said = process.stdout.read()
            assert process.wait(timeout=60) == 0, said
    assert "lost actor-0 with 2 prompts: its machine went away" in said, said
    assert [row["attempts"] for row in rows(out, "attempts")] == [1, 2, 2]
    assert failures(out) == []


@pytest.fixture
def _hearing() -> Iterator[None]:
    """No signal is ignored here, and so by no driver, as in a shell's background or by `nohup`."""
    before = {s: signal.signal(s, signal.SIG_DFL) for s in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@contextmanager
def own_cluster(words: list[object], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A driver that has started Ray itself, once it has committed 'a ball'; it leads a group, as a
    job of a shell does."""
    inherited = driver_environment()
    del inherited["RAY_AUTH_MODE"]
    with (
        short_directory() as directory,
        subprocess.Popen(
            command(*words),
            env=inherited | {"RAY_TMPDIR": str(directory)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        ) as process,
    ):
        assert process.stdout is not None
        next(line for line in process.stdout if "committed 'a ball'" in line)
        yield process


@pytest.mark.usefixtures("_hearing")
@pytest.mark.parametrize(
    ("send", "signum"),
    [
        (os.kill, signal.SIGTERM),
        (os.killpg, signal.SIGTERM),
        pytest.param(os.killpg, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(os.killpg, signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_cluster_of_its_own_ends_with_the_run(
    tmp_path: Path, weights: Path, send: Callable[[int, int], None], signum: int
) -> None:
    """A signal in the middle, to the driver or to its group, as `timeout`, Ctrl-C and a closed
    terminal send it: what is committed stays, no process stays, the rest is made later."""
    # An actor whose step is short would have left before the rest of Ray is dead.
    prompts = ["a ball", "one slow steps 3000", "two", "three"]
    manifest = write_manifest(tmp_path / "m.parquet", prompts)
    out, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    words = arguments(manifest, out, weights, "--slots", 1)
    with own_cluster(words, HOME=str(home)) as process:
        family = descendants(process.pid)
        assert len(family) > 3
        assert process.stdout is not None
        next(line for line in process.stdout if "1 running" in line)
        asked = time.monotonic()
        send(process.pid, signum)
        last_words = process.stdout.read()
        assert process.wait(timeout=60) == 128 + signum
        assert time.monotonic() - asked <= LEAVING_SECONDS
    assert len([p for p in (out / "_checkpoints").rglob("*") if p.is_file()]) == 1, (
        "two were waiting"
    )
    assert "interrupted: at least 1 of 4 assets are committed" in last_words
    assert wait_until_gone(family, 20) == set()
    assert [row["prompt"] for row in rows(out)] == ["a ball"]
    report = summary(out)
    assert (report["exit_code"], report["num_remaining"]) == (128 + signum, 3)
    assert not (home / ".ray").exists(), "no token is left in the user's home"


def test_a_cluster_of_its_own_ends_with_a_driver_that_is_killed(
    tmp_path: Path, weights: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "one steps 3000"])
    with own_cluster(arguments(manifest, tmp_path / "out", weights, "--slots", 1)) as process:
        family = descendants(process.pid)
        assert named(process.pid, "ray::DashboardAgent")
        process.kill()
        assert process.wait(timeout=20) == -signal.SIGKILL
        assert wait_until_gone(family, 20) == set()


@pytest.mark.slow
def test_assets_that_take_no_time_to_make_take_little_to_hand_out_and_commit(
    ray_head: Head, tmp_path: Path, weights: Path
) -> None:
    """From order to commit, without start and end: CPU time, which is not a neighbour's."""
    prompts = [f"ball {number} steps 1" for number in range(600)]
    manifest = write_manifest(tmp_path / "m.parquet", prompts)
    words = command(*arguments(manifest, tmp_path / "out", weights, "--slots", 8))
    environment = ray_head.environment() | {"FAKE_ENGINE": "instant"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        spent, num_committed = {}, 0
        for line in process.stdout:
            num_committed += "] committed" in line
            if num_committed in (100, 550) and num_committed not in spent:
                (actor,) = named(ray_head.process.pid, "ray::OptimizationActor")
                spent[num_committed] = sum(map(cpu_seconds, (process.pid, actor)))
    assert process.returncode == 0
    assert num_committed == len(prompts)
    assert (spent[550] - spent[100]) / 450 <= MOST_CPU_SECONDS
