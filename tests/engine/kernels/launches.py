"""Launches kernels as on a Hopper GPU, without one: they are compiled, and then not run.

Triton's compiler sees each argument as a launch gives it, which it does not where `hopper`
describes them by hand. What a kernel would have written stays as it was allocated. A test process
interprets kernels, so this is for one of its own: `python -m tests.engine.kernels.launches` prints
the kernels of every op's measurements and of a step of a gang, by subject.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.engine.kernels import hopper


def compiled(cache: Path) -> dict[str, list[str]]:
    """Names of the kernels by subject; fails with the compiler's words."""
    return hopper.compiling("tests.engine.kernels.launches", "", cache)


class _Hopper:
    """A driver whose only device is one to compile for."""

    def get_current_target(self) -> Any:
        return hopper.target()

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


@contextmanager
def _compiling() -> Iterator[list[str]]:
    """Inside, launches compile only; the list grows by the names of their kernels."""
    import triton
    from triton.runtime.jit import JITFunction

    launch: Callable[..., Any] = JITFunction.run
    found: list[str] = []

    def run(self: Any, *args: Any, warmup: bool, **kwargs: Any) -> Any:
        found.append(self.__name__)
        return launch(self, *args, warmup=True, **kwargs)

    runtime: Any = triton.runtime
    runtime.driver.set_active(_Hopper())
    JITFunction.run = run
    yield found
    JITFunction.run = launch


def _step(name: str) -> None:
    """One step of a gang with a recipe's field, shading and losses, at tiny sizes."""
    from engine import recipes
    from engine.gang import Gang, SceneRequest
    from tests.engine.fakes import DiscGuidance

    recipe = recipes.get(name)
    march = replace(recipe.march, num_samples=16, num_bins=32, grid_size=8)
    tiny = replace(recipe, guidance="primitives", views=1, render_size=16, march=march)
    gang = Gang(tiny, DiscGuidance(), num_slots=2)
    gang.add(SceneRequest(key="a", prompt="a red disc", seed=0))
    gang.step()


def _measure(name: str) -> None:
    """Everything of an op that is timed, once."""
    from engine.bench import ops

    for case in ops.load(name).cases(torch.device("cpu"), is_tiny=True):
        case.run()


def _main() -> None:
    from engine import kernels
    from engine.bench import ops

    kernels.is_fused = lambda x: True
    subjects = {op: (_measure, op) for op in ops.OPS}
    steps = ("primitives", "dreamfusion_if", "dreamfusion_paper")
    subjects |= {f"step of {name}": (_step, name) for name in steps}
    found = {}
    for subject, (launch, name) in subjects.items():
        with _compiling() as names:
            launch(name)
        found[subject] = sorted(set(names))
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
