"""What an actor asks of the engine, and the one place where the engine is loaded.

The actor sees the engine through the protocols below and gets it from an `EngineFactory`, a plain
callable that the driver sends along. `load_engine` is the real one and pulls in torch only when it
is called; tests send a small one of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.memory import peak_bytes
from pipeline.records import Prompt

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
    num_exports: int = 1
    """Exports that run at a time beside the gang (`engine.export.crew`)."""
    measures_slots: bool = False
    """Whether the device's memory decides how many of `num_slots` there are."""
    compiled: bool = False
    """Whether networks are compiled where there is a GPU: a minute or more that a long run is
    worth."""
    has_text_encoder: bool = True
    """Whether the engine embeds texts itself; otherwise each request brings them along."""
    checkpoint_seconds: float | None = None
    """How old a scene's newest checkpoint may become; None: none are made."""
    texts_seconds: float = 600.0
    """How long an attempt may wait for the texts that it brings along."""


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


class Saved(Protocol):
    """A resident as it was after one of its steps (`engine.checkpoint.Checkpoint`)."""

    @property
    def seconds(self) -> float:
        """Device time that it has cost so far."""
        ...

    def to_bytes(self) -> bytes | None:
        """What a request takes along to go on from there, on any machine; None where the scene has
        failed. May be called on another thread, while the gang goes on."""
        ...


class Gang(Protocol):
    """Scenes that advance together (`engine.gang.Gang`)."""

    @property
    def num_free(self) -> int: ...
    def add(self, request: Any) -> int:
        """Returns the steps that its checkpoint had behind it; ValueError if that does not fit."""
        ...

    def step(self) -> None: ...
    def take_finished(self) -> list[Any]: ...
    def progress(self) -> Mapping[str, float]: ...
    def seconds(self) -> Mapping[str, float]:
        """Device time of each resident, by key; what its checkpoint had behind it included."""
        ...

    def part_seconds(self) -> Sequence[Mapping[str, float]]:
        """Seconds by part of each step that the device has done since the last call: values of the
        label of `actor_step_part_seconds`. Never waits, so that a step may be told of later."""
        ...

    def save(self, key: str) -> Saved: ...


class Engine(Protocol):
    """A loaded engine: weights in memory, gangs on demand. A frugal gang takes longer and less
    memory."""

    @property
    def device(self) -> str: ...
    @property
    def num_slots(self) -> int:
        """Scenes of a gang, unless the device turns out too small for them."""
        ...

    def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> Gang: ...
    def request(
        self,
        *,
        key: str,
        prompt: str,
        negative_prompt: str,
        seed: int,
        text: bytes | None = None,
        checkpoint: bytes | None = None,
    ) -> Any: ...
    def export(self, finished: Any, metadata: Mapping[str, str]) -> "Asset":
        """`metadata` is for the GLB, which also names the licence of the weights. May be called on
        several threads at a time, while the gang goes on."""
        ...

    def peak_memory_bytes(self) -> int: ...


EngineFactory = Callable[[EngineSpec], Engine]


class TextEngine(Protocol):
    """A loaded text encoder."""

    def encode(self, batch: Sequence[Sequence[str]]) -> list[bytes]:
        """The texts of each prompt, embedded, as a request brings them along."""
        ...


TextFactory = Callable[[EngineSpec], TextEngine]


def texts_asked(spec: EngineSpec, prompt: Prompt) -> tuple[str, ...]:
    """The texts with which an engine asks its model about a prompt."""
    from engine.guidance.prompts import texts_of

    is_viewed = spec.recipe["distillation"]["prompt_views"] != "none"
    return tuple(texts_of(prompt.prompt, prompt.negative_prompt, is_viewed=is_viewed))


def load_engine(spec: EngineSpec) -> Engine:
    """Loads torch, the weights and the recipe of `spec` onto this process's device.

    Raises ValueError where the weights are not those that the driver planned with.
    """
    return _TorchEngine(spec, _weights(spec))


def load_texts(spec: EngineSpec) -> TextEngine:
    """Loads torch and the text encoder of `spec`, on the CPU. Errors as `load_engine`."""
    return _TorchTexts(spec, _weights(spec))


def _weights(spec: EngineSpec) -> Path:
    from engine.guidance import files
    from pipeline import models

    path = models.find(spec.guidance).path
    found = files.digest(path)
    if found != spec.guidance_digest:
        raise ValueError(
            f"guidance {str(path)!r}: expected weights of digest {spec.guidance_digest[:12]}, "
            f"got {found[:12]}; put the same files on every machine"
        )
    return path


class _TorchTexts:
    def __init__(self, spec: EngineSpec, path: Path) -> None:
        import torch

        from engine.guidance.texts import TextEncoder

        torch.set_num_threads(spec.num_threads)
        self._encoder = TextEncoder.load(path, device="cpu")

    def encode(self, batch: Sequence[Sequence[str]]) -> list[bytes]:
        from safetensors.torch import save

        found = self._encoder.encode([text for texts in batch for text in texts])
        found = found.to(self._encoder.dtype)
        parts = found.split([len(texts) for texts in batch])
        return [save({"text": part.contiguous()}) for part in parts]


class _TorchEngine:
    def __init__(self, spec: EngineSpec, path: Path) -> None:
        import torch

        from engine.aside import Aside
        from engine.guidance import files
        from engine.guidance.loading import load_guidance
        from engine.hardware import usual_device
        from engine.recipe import Recipe

        torch.set_num_threads(spec.num_threads)
        device = usual_device()
        self._is_cuda = device.type == "cuda"
        self._guidance = load_guidance(
            path,
            device=device,
            with_texts=spec.has_text_encoder,
        )
        self._aside = Aside(self._guidance.device)
        self._recipe = Recipe.from_dict(spec.recipe)
        self._licence = files.licence(path)
        self.num_slots = spec.num_slots
        if spec.measures_slots:
            from engine import slots

            self.num_slots = slots.fitting(self._recipe, self._guidance, most=spec.num_slots)
        if spec.compiled and self._is_cuda:
            # Not before slots are measured, whose sizes would be compiled for nothing.
            self._guidance.compile()
        self.device = torch.cuda.get_device_name() if self._is_cuda else "cpu"

    def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> Gang:
        from engine.gang import FRUGAL_RAYS
        from engine.gang import Gang as EngineGang

        if self._is_cuda:
            import torch

            torch.cuda.empty_cache()
        self._guidance.recomputes = is_frugal
        return EngineGang(
            self._recipe,
            self._guidance,
            num_slots=num_slots,
            ray_chunk=FRUGAL_RAYS if is_frugal else None,
        )

    def request(
        self,
        *,
        key: str,
        prompt: str,
        negative_prompt: str,
        seed: int,
        text: bytes | None = None,
        checkpoint: bytes | None = None,
    ) -> Any:
        from safetensors.torch import load

        from engine.gang import SceneRequest

        return SceneRequest(
            key=key,
            prompt=prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            text=None if text is None else load(text)["text"],
            checkpoint=checkpoint,
        )

    def export(self, finished: Any, metadata: Mapping[str, str]) -> "Asset":
        from engine.export import export_asset

        described = {**metadata, "licence": self._licence}
        with self._aside.after(finished.ready):
            return export_asset(finished.scene, self._recipe.export, metadata=described)

    def peak_memory_bytes(self) -> int:
        """Of the device since the actor began; on a CPU, of the process."""
        if self._is_cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        return peak_bytes()
