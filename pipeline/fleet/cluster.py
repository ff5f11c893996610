"""The Ray cluster: joined where `RAY_ADDRESS` says, else a small one of our own on this machine."""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeline.actor import OptimizationActor
from pipeline.actors.encoder import TextActor
from pipeline.actors.engine_port import EngineFactory, EngineSpec, TextFactory
from pipeline.errors import RunError, UserError
from pipeline.fleet.process_group import ProcessGroup
from pipeline.store import Store

_OBJECT_STORE_BYTES = 150_000_000
"""Only outcomes of about 1 KB travel; Ray's own default would take a third of the memory."""
_CALLS_BESIDE_SLOTS = 16
"""Concurrent calls an actor takes beyond its slots: lookahead, pings, glances."""

_ENCODER_RETRIES = 20
"""Deaths of the text actor that one call of it survives; more are a fault of the machine."""
_ENCODER_CALLS = 100_000
"""Concurrent calls of the text actor: all that wait for their batch, so that no ping waits too."""

_GPU_ENVIRONMENT = {
    # Threads that spin while they wait make a step many times slower on a machine with other work.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment of an actor that computes on a GPU, beside exports that compute on its cores."""

_CPU_ENVIRONMENT = _GPU_ENVIRONMENT | {
    # glibc would give every large tensor back to the system and fault it in again: 5,000 page
    # faults an optimisation step, a tenth of its time.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""Environment of an actor that computes on the CPU."""


class Cluster:
    """A connection to Ray, made by `connect` and undone by `close`."""

    def __init__(self) -> None:
        self.is_own = "RAY_ADDRESS" not in os.environ
        """Whether the cluster is started, and ended, by this process."""
        self._is_connected = False
        self._group: ProcessGroup | None = None

    def connect(self) -> None:
        """Joins or starts the cluster; a second call does nothing."""
        if self._is_connected:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not sys.stdout.isatty():
            # What the raylet says is printed by Ray, coloured unless told otherwise; so is the
            # note on lines that it leaves out as repeated.
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
            os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.is_own:
            _guard_own_cluster()
            options |= {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
            }
        import ray

        self._is_connected = True
        self._group = ProcessGroup() if self.is_own else None
        with _own_handler(), self._group.joined() if self._group else nullcontext():
            try:
                ray.init(**options)
            except ValueError as error:
                raise UserError(f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')!r}: {error}") from None
            except (ConnectionError, RuntimeError) as error:
                raise RunError(f"no Ray cluster could be joined or started: {error}") from error

    def close(self) -> None:
        """Leaves the cluster; our actors end with it, and so does a cluster of our own."""
        if self._is_connected:
            import ray

            try:
                ray.shutdown()
            finally:
                if self._group is not None:
                    self._group.close()
            self._is_connected = False

    @property
    def num_gpus(self) -> int:
        """GPUs of all machines that are up."""
        return int(sum(resources.get("GPU", 0) for resources in self._machines()))

    @property
    def has_machines(self) -> bool:
        """Whether any machine is up that takes work; a head that only watches does not."""
        return any(m.get("CPU") or m.get("GPU") for m in self._machines())

    def threads(self, *, use_gpu: bool) -> int:
        """Threads an actor may use: its share of its machine's cores."""
        if "OMP_NUM_THREADS" in os.environ:
            return int(os.environ["OMP_NUM_THREADS"])
        if not use_gpu:
            return self._most_cores()
        shares = [m["CPU"] / m["GPU"] for m in self._machines() if m.get("GPU") and m.get("CPU")]
        return max(1, int(min(shares, default=1)))

    def create_actor(
        self,
        factory: EngineFactory,
        spec: EngineSpec,
        store: Store,
        *,
        use_gpu: bool,
    ) -> Any:
        """A new actor, which may still wait for its machine: one GPU, or all cores of a machine.

        Ray restarts it for ever and repeats nothing: what becomes of a lost prompt is ours to say.
        """
        import ray

        needs = {"num_gpus": 1, "num_cpus": 1} if use_gpu else {"num_cpus": self._most_cores()}
        remote_class: Any = ray.remote(OptimizationActor)
        return remote_class.options(
            **needs,
            runtime_env={"env_vars": _GPU_ENVIRONMENT if use_gpu else _CPU_ENVIRONMENT},
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=spec.num_slots + _CALLS_BESIDE_SLOTS,
        ).remote(factory, spec, store)

    def create_encoder(
        self, factory: TextFactory, spec: EngineSpec, store: Store, *, use_gpu: bool
    ) -> Any:
        """The actor that embeds texts, on a CPU. Its calls may be repeated; Ray repeats them."""
        import ray

        # Where optimisation takes all cores it must not wait for one; in a cluster with GPUs it
        # counts, so that it does not land on a head that has no room for it.
        needs = {"num_cpus": 1 if use_gpu and not self.is_own else 0}
        remote_class: Any = ray.remote(TextActor)
        return remote_class.options(
            **needs,
            max_restarts=-1,
            max_task_retries=_ENCODER_RETRIES,
            max_concurrency=_ENCODER_CALLS,
        ).remote(factory, spec, store)

    def alive(self) -> set[str]:
        """The machines that are part of the cluster."""
        import ray

        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    def draining(self) -> set[str]:
        """The machines that are about to go; none where this version of Ray does not tell."""
        from ray._private import state

        try:
            return set(state.state.get_draining_nodes())
        except AttributeError:
            return set()

    def _most_cores(self) -> int:
        return max(1, int(max((m.get("CPU", 0) for m in self._machines()), default=1)))

    def _machines(self) -> list[Mapping[str, float]]:
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _own_handler() -> Iterator[None]:
    """Keeps the caller's SIGTERM handler, in whose place Ray puts one that ends the process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if not callable(handler):
            raise
        handler(signal.SIGTERM, None)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _guard_own_cluster() -> None:
    """Gives the cluster a token of its own, in the environment alone.

    Ray would write one into the user's home, where later commands pick it up.
    """
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
