"""How long a mesh of 50,000 faces with a texture of 2,048 texels a side takes on one core.

    python -m tests.engine.export.bench_mesh

The scene is a dense grid in the shape of a bumpy ball in many colours. CPU seconds of both
processes are counted, so that neighbours on the machine do not matter.
"""

import resource
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from engine import fields
from engine.configs.export import ExportConfig
from engine.configs.fields import DenseGridConfig
from engine.export import elsewhere, glb, lattice, mesh, texture
from engine.scene import Scene

CONFIG = ExportConfig(grid_size=192, max_faces=50_000, texture_size=2048, density_level=10.0)
_R = TypeVar("_R")


def bumpy(size: int = 96) -> Scene:
    """A ball with waves on it, its colours in stripes along all three axes."""
    config = DenseGridConfig(resolutions=(16, size))
    parameters = fields.build(config).initial(torch.tensor([0]))
    axis = torch.linspace(-1.0, 1.0, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    waves = 0.05 * (9.0 * x).sin() * (8.0 * y).sin() * (7.0 * z).sin()
    depth = 0.75 + waves - (x.square() + y.square() + z.square()).sqrt()
    grid = parameters[f"grid{size}"][0]
    grid[0] = 600.0 / config.density_gain * depth
    for channel, along in enumerate((x, y, z)):
        grid[1 + channel] = 3.0 * (12.0 * along).sin()
    return Scene(config, parameters)


def cpu_seconds(scene: Scene, config: ExportConfig) -> dict[str, float]:
    """CPU seconds of each stage, the mesh process's where it is busy included in `elsewhere`."""
    torch.set_num_threads(1)
    elsewhere.MESH_CREW.close()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, float] = {}

    def timed(name: str, stage: Callable[[], _R]) -> _R:
        start = time.process_time()
        result = stage()
        found[name] = time.process_time() - start
        return result

    samples = timed("lattice", lambda: lattice.sample(scene, config.grid_size))
    surface = timed("mesh", lambda: mesh.build(scene, samples, config))
    assert surface is not None
    paint = timed(
        "texture", lambda: texture.bake(scene, surface, samples.spacing, config.texture_size)
    )
    data = timed("glb", lambda: glb.encode(surface, {}, paint))
    elsewhere.MESH_CREW.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["elsewhere"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found["faces"] = len(surface.faces)
    found["bytes"] = len(data)
    return found


if __name__ == "__main__":
    measured = cpu_seconds(bumpy(), CONFIG)
    print({name: round(value, 2) for name, value in measured.items()})
    stages = ("mesh", "texture", "glb", "elsewhere")
    print(f"mesh to GLB, without the lattice: {sum(measured[name] for name in stages):.2f} s")
