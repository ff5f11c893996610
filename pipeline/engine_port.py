"""What an actor asks of the engine, and the one place where the engine is loaded.

The actor sees the engine through the protocols below and gets it from an `EngineFactory`, a plain
callable that the driver sends along. `load_engine` is the real one and pulls in torch only when it
is called; tests send a small one of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from engine.export.asset import Asset


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Which engine an actor is to load.

    `recipe` is `Recipe.to_dict()`. `guidance` is looked up by the actor on its own machine, and
    the weights there must have `guidance_digest`.
    """

    recipe: Mapping[str, Any]
    guidance: str
    guidance_digest: str
    num_slots: int
    num_threads: int


class Finished(Protocol):
    """A scene that has left its gang (`engine.gang.FinishedScene`)."""

    @property
    def key(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def iterations(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def losses(self) -> Mapping[str, float]: ...


class Gang(Protocol):
    """Scenes that advance together (`engine.gang.Gang`)."""

    @property
    def num_free(self) -> int: ...
    def add(self, request: Any) -> None: ...
    def step(self) -> None: ...
    def take_finished(self) -> list[Any]: ...
    def progress(self) -> Mapping[str, float]: ...


class Engine(Protocol):
    """A loaded engine: weights in memory, gangs on demand; a single one has one slot."""

    @property
    def device(self) -> str: ...
    def new_gang(self, *, is_single: bool = False) -> Gang: ...
    def request(self, *, key: str, prompt: str, negative_prompt: str, seed: int) -> Any: ...
    def export(self, finished: Any, metadata: Mapping[str, str]) -> "Asset": ...
    def peak_memory_bytes(self) -> int: ...


EngineFactory = Callable[[EngineSpec], Engine]


def load_engine(spec: EngineSpec) -> Engine:
    """Loads torch, the weights and the recipe of `spec` onto this process's device.

    Raises ValueError where the weights are not those that the driver planned with.
    """
    from engine.guidance import files

    path = files.resolve(spec.guidance)
    files.check(path)
    found = files.digest(path)
    if found != spec.guidance_digest:
        raise ValueError(
            f"guidance {str(path)!r}: expected weights of digest {spec.guidance_digest[:12]}, "
            f"got {found[:12]}; put the same files on every machine"
        )
    return _TorchEngine(spec, path)


class _TorchEngine:
    def __init__(self, spec: EngineSpec, path: Path) -> None:
        import torch

        from engine.guidance.pixel import PixelGuidance
        from engine.recipe import Recipe

        torch.set_num_threads(spec.num_threads)
        self._is_cuda = torch.cuda.is_available()
        self._guidance = PixelGuidance.load(path, device="cuda" if self._is_cuda else "cpu")
        self._recipe = Recipe.from_dict(spec.recipe)
        self._num_slots = spec.num_slots
        self.device = torch.cuda.get_device_name() if self._is_cuda else "cpu"

    def new_gang(self, *, is_single: bool = False) -> Gang:
        from engine.gang import Gang as EngineGang

        if self._is_cuda:
            import torch

            torch.cuda.empty_cache()
        num_slots = 1 if is_single else self._num_slots
        return EngineGang(self._recipe, self._guidance, num_slots=num_slots)

    def request(self, *, key: str, prompt: str, negative_prompt: str, seed: int) -> Any:
        from engine.gang import SceneRequest

        return SceneRequest(key=key, prompt=prompt, negative_prompt=negative_prompt, seed=seed)

    def export(self, finished: Any, metadata: Mapping[str, str]) -> "Asset":
        from engine.export import export_asset

        return export_asset(finished.scene, self._recipe.export, metadata=metadata)

    def peak_memory_bytes(self) -> int:
        """Of the device since the actor began; on a CPU, of the process."""
        if self._is_cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
