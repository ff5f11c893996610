"""An output that somebody has damaged: one line says so, no asset is lost or made twice."""

import io
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.dataset import catalog, garbage
from pipeline.errors import RunError, UserError
from pipeline.fleet.cluster import Cluster
from pipeline.records import Failure, Task
from pipeline.run.job import prepare
from pipeline.run.report import start
from pipeline.settings import RunSettings
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import sample_bytes

PROMPTS = [f"a ball, number {k}" for k in range(8)]
NUM_PACKED, NUM_COMMITTED = 3, 5
"""The first are packed and their files collected, the next have files of their own."""

DIRECTORIES = [
    "assets/shard=x00",
    "packed/shard=x00",
    "_runs/one",
    "_failures",
    "_checkpoints",
    "_lease",
    "_pardons",
    "_snapshots",
    "_rejected",
    "_embeddings",
    "catalog",
]
NAMES = [
    b"foreign.json",
    b"00000001.json",
    b"99999999.json",
    b"run.json",
    b"summary.json",
    b"part-00000.parquet",
    b"0" * 32 + b".parquet",
    b"0" * 32,
    b"\xff\xfe.json",
    b"\xff.parquet",
    b"new\nline.json",
    b"x" * 200 + b".json",
    b".hidden.json",
    b"README",
]
CONTENTS = [
    b"",
    b"\x00\xff\xfe",
    b"[]",
    b"null",
    b"{}",
    b'"text"',
    b"NaN",
    b'{"asset_id": 7, "quarantined": "yes"}',
    b'{"created_at": null, "kind": 1, "attempt_ids": 7}',
    b'{"attempt_ids": [1, null, {}], "run_id": []}',
    b'{"expires_at": "soon", "pid": "x", "released": null, "host": 1, "run_id": 2}',
    b"[" * 5000 + b"]" * 5000,
    b"PAR1" + bytes(20) + b"PAR1",
    b"{" + b'"a": 1,' * 5,
]
JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=2),
)


@dataclass(frozen=True)
class Damage:
    """What is done to the `number`-th file, or in the `number`-th directory."""

    action: str
    number: int
    name: bytes = b"foreign.json"
    content: bytes = b""
    value: object = None


damages = st.builds(
    Damage,
    action=st.sampled_from(["cut", "fill", "retype", "drop", "add", "directory", "file"]),
    number=st.integers(0, 10**6),
    name=st.sampled_from(NAMES),
    content=st.one_of(st.sampled_from(CONTENTS), st.binary(max_size=40)),
    value=JSON,
)
commands = st.lists(
    st.sampled_from(
        ["status", "status --json", "run", "retry", "compact", "gc --older-than 0", "validate"]
    ),
    min_size=1,
    max_size=3,
)


def apply(damage: Damage, root: Path) -> set[Path]:
    """Does it; returns the files that are no longer what they were."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    file = files[damage.number % len(files)]
    directory = root / DIRECTORIES[damage.number % len(DIRECTORIES)]
    if damage.action == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size * (damage.number % 10) // 10])
    elif damage.action == "fill":
        file.write_bytes(damage.content)
    elif damage.action in ("retype", "drop"):
        _change(file, damage)
    elif damage.action == "directory":
        file.unlink()
        (file / "inside").mkdir(parents=True)
    elif damage.action == "file":
        lost = set(directory.rglob("*"))
        shutil.rmtree(directory, ignore_errors=True)
        directory.parent.mkdir(exist_ok=True)
        directory.write_bytes(damage.content)
        return lost
    else:
        if directory.is_file():
            return {directory}
        directory.mkdir(parents=True, exist_ok=True)
        added = os.path.join(os.fsencode(directory), damage.name)
        with open(added, "wb") as stream:
            stream.write(damage.content)
        return {Path(os.fsdecode(added))}
    return {file}


def _change(file: Path, damage: Damage) -> None:
    """One key of a JSON object has another value, or is gone."""
    try:
        document = json.loads(file.read_bytes())
        key = sorted(document)[damage.number % len(document)]
    except (ValueError, TypeError, ZeroDivisionError):
        return
    if damage.action == "drop":
        del document[key]
    else:
        document[key] = damage.value
    file.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    """An output with packed and single assets, failures, a quarantine and a pardon, two runs."""
    directory = tmp_path_factory.mktemp("sound")
    arguments = RunSettings(
        manifest=str(write_manifest(directory / "m.parquet", [*PROMPTS, ""])),
        output=str(directory / "out"),
        guidance=str(write_hollow_weights(directory / "weights")),
        recipe="smoke",
        metrics_port=0,
    )
    job = prepare(arguments, has_gpus=lambda: False)
    store, tasks = job.store, list(job.plan.tasks)
    store.claim_schema(job.carried)
    store.start_run(start(job, "one", num_actors=1))
    for task in tasks[:NUM_PACKED]:
        store.commit(task.asset_id, sample_bytes(task))
    pardoned, quarantined = map(failure_of, tasks[-2:])
    store.write_failure(pardoned)
    assert main(["compact", "--output", arguments.output]) == 0
    assert main(["gc", "--output", arguments.output, "--older-than", "0"]) == 0
    for task in tasks[NUM_PACKED:NUM_COMMITTED]:
        store.commit(task.asset_id, sample_bytes(task))
    catalog.write(store)
    assert main(["retry", "--output", arguments.output]) == 0
    store.write_failure(quarantined)
    store.write_checkpoint(tasks[NUM_COMMITTED].asset_id, b"half a scene")
    store.start_run(start(job, "two", num_actors=1))
    return arguments


def failure_of(task: Task) -> Failure:
    """The failure that gave a task up."""
    return Failure(
        asset_id=task.asset_id,
        attempt_id=task.asset_id[::-1],
        prompt_id=task.prompt.prompt_id,
        prompt=task.prompt.prompt,
        error_kind="diverged",
        message="NaN",
        attempts=3,
        quarantined=True,
    )


def attempts(root: Path) -> dict[str, set[str]]:
    """Which attempts at each asset can be read, wherever they lie."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for directory in ("assets", "packed"):
        for path in (root / directory).rglob("*.parquet"):
            try:
                table = pq.ParquetFile(path).read(["asset_id", "attempt_id"])
            except (OSError, ValueError):
                continue
            for row in table.to_pylist():
                found[row["asset_id"]].add(row["attempt_id"])
    return dict(found)


def said(words: list[str]) -> tuple[int, str, str]:
    """Exit code and words of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True, scope="module")
def no_cluster_and_no_grace() -> Iterator[None]:
    """A run gets as far as its plan, and as having to join a cluster; what was packed just now is
    garbage elsewhere."""

    def connect(cluster: Cluster) -> None:
        raise RunError("no cluster here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "connect", connect)
        patch.setattr(garbage, "_LEAST_GRACE_SECONDS", 0)
        yield


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damaged=st.lists(damages, min_size=1, max_size=3), words=commands)
@example(damaged=[Damage("file", 0)], words=["status", "run"])
def test_no_damage_shows_a_traceback_or_costs_an_asset(
    sound: RunSettings, damaged: list[Damage], words: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "out"
        shutil.copytree(sound.output, root)
        touched = set[Path]()
        for damage in damaged:
            touched |= apply(damage, root)
        before = attempts(root)
        here = replace(sound, output=str(root))
        check_plan(here, before)
        for command in words:
            code, _, err = said([*arguments(command, here)])
            assert code in (0, 1, 2, 3), command
            assert "Traceback" not in err
            errors = [line for line in err.splitlines() if line.startswith("dreambatch: error: ")]
            assert len(errors) == (code in (1, 2)), err
        after = attempts(root)
        assert {asset_id for asset_id in before if asset_id not in after} == set(), "lost"
        assert all(len(found) == 1 for found in after.values()), "doubled"


def arguments(command: str, here: RunSettings) -> list[str]:
    """A command line for that output."""
    name, *more = command.split()
    if name == "validate":
        return [name, "--manifest", here.manifest]
    if name == "run":
        assert here.recipe is not None
        assert here.guidance is not None
        more = ["--manifest", here.manifest, "--guidance", here.guidance, "--recipe", here.recipe]
    return [name, "--output", here.output, *more]


def check_plan(here: RunSettings, readable: dict[str, set[str]]) -> None:
    """Either a line says what is wrong, or nothing that can be read is made again."""
    try:
        job = prepare(here, has_gpus=lambda: False)
    except UserError:
        return
    planned = {task.asset_id for task in job.plan.tasks}
    assert planned.isdisjoint(readable)
    assert job.plan.num_prompts == len(PROMPTS)


def test_the_sound_output_is_one(sound: RunSettings) -> None:
    """So that it is the damage that is told of."""
    root = Path(sound.output)
    assert len(attempts(root)) == NUM_COMMITTED
    assert len(list(root.rglob("assets/*/*.parquet"))) == NUM_COMMITTED - NUM_PACKED
    assert {path.split("/")[0] for path in DIRECTORIES} - {
        path.name for path in root.iterdir()
    } <= {"_lease", "_rejected", "_embeddings"}
    job = prepare(sound, has_gpus=lambda: False)
    assert (job.plan.num_committed, job.plan.num_quarantined) == (NUM_COMMITTED, 1)
