"""How Ray is joined or started; whole runs on it are in test_driver."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import ray
from ray._private import state

from pipeline.actors.engine_port import EngineSpec
from pipeline.errors import RunError, UserError
from pipeline.fleet import cluster as cluster_module
from pipeline.fleet.cluster import Cluster
from tests.pipeline.fake_engine import instant
from tests.pipeline.sample_assets import open_store

MACHINES = [
    {"Alive": True, "NodeID": "head", "Resources": {"CPU": 2.0}},
    {"Alive": True, "NodeID": "big", "Resources": {"CPU": 64.0, "GPU": 8.0}},
    {"Alive": True, "NodeID": "small", "Resources": {"CPU": 12.0, "GPU": 2.0}},
    {"Alive": False, "NodeID": "gone", "Resources": {"CPU": 128.0, "GPU": 16.0}},
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster of made-up machines that nobody has joined."""
    monkeypatch.setattr(ray, "nodes", lambda: MACHINES)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Cluster()


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back whatever a test leaves in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_machines_that_are_gone_do_not_count(cluster: Cluster) -> None:
    assert cluster.num_gpus == 10
    assert cluster.alive() == {"head", "big", "small"}


def test_machines_that_are_about_to_go(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state.state, "get_draining_nodes", lambda: {"big": 1_800_000_000_000})
    assert cluster.draining() == {"big"}


def test_a_ray_that_does_not_tell_which_machines_are_about_to_go(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(state.state), "get_draining_nodes")
    assert cluster.draining() == set()


def test_a_head_alone_is_no_machine_to_work_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.has_machines
    head = {"Alive": True, "Resources": {"node:__internal_head__": 1.0, "memory": 1e9}}
    monkeypatch.setattr(ray, "nodes", lambda: [head])
    assert not cluster.has_machines


def test_threads_are_a_fair_share(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.threads(use_gpu=True) == 6
    assert cluster.threads(use_gpu=False) == 64
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cluster.threads(use_gpu=False) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {}}])
    assert cluster.threads(use_gpu=True) == cluster.threads(use_gpu=False) == 1


@pytest.mark.parametrize("use_gpu", [True, False])
def test_threads_of_an_actor_sleep_while_they_wait(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, use_gpu: bool
) -> None:
    asked: dict[str, Any] = {}

    class Remote:
        def options(self, **options: Any) -> "Remote":
            asked.update(options)
            return self

        def remote(self, *_: object) -> None: ...

    monkeypatch.setattr(ray, "remote", lambda _: Remote())
    spec = EngineSpec(
        recipe={}, guidance="", guidance_digest="", num_slots=1, num_threads=1, num_exports=1
    )
    cluster.create_actor(instant, spec, open_store(str(tmp_path)), use_gpu=use_gpu)
    variables = asked["runtime_env"]["env_vars"]
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert ("MALLOC_ARENA_MAX" in variables) is not use_gpu
    assert asked.get("num_gpus") == (1 if use_gpu else None)


@pytest.mark.usefixtures("_environment")
def test_our_own_cluster_has_a_token_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAY_"):
            monkeypatch.delenv(name)
    calls = []
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    own = Cluster()
    own.connect()
    own.connect()
    (options,) = calls
    assert (options["address"], options["include_dashboard"]) == ("local", False)
    assert options["object_store_memory"] <= 200_000_000
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    own.close()


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"])
def test_what_the_user_says_about_tokens_stands(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for other in [n for n in os.environ if n.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(other)
    monkeypatch.setenv(name, "as the user likes")
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    own = Cluster()
    own.connect()
    own.close()
    assert os.environ[name] == "as the user likes"
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("Invalid address format"), UserError), (ConnectionError("refused"), RunError)],
)
def test_a_cluster_that_cannot_be_joined(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: type[Exception],
) -> None:
    def fail(**options: object) -> None:
        assert "address" not in options, "Ray reads RAY_ADDRESS itself"
        raise error

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(expected, match=str(error)):
        cluster.connect()


@pytest.mark.usefixtures("_environment")
def test_the_callers_sigterm_handler_survives_ray(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signum)

    def init(*, exits: bool, **options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if exits:
            raise SystemExit(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, ours)
    try:
        monkeypatch.setattr(ray, "init", lambda **options: init(exits=False, **options))
        cluster.connect()
        assert signal.getsignal(signal.SIGTERM) is ours
        monkeypatch.setattr(ray, "init", lambda **options: init(exits=True, **options))
        with pytest.raises(KeyboardInterrupt):
            Cluster().connect()
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_file_imports_no_ray_by_itself() -> None:
    """Else `--help` of a broken Ray would fail, and errors of the user would wait for it."""
    source = Path(cluster_module.__file__).read_text().splitlines()
    assert not [line for line in source if line.startswith(("import ray", "from ray"))]
