"""Makes GLB files of many shapes and has Khronos' own validator judge them; needs node and npm.

    python -m tests.engine.export.validate_glbs --count 1000
    python -m tests.engine.export.validate_glbs --count 100 --faces 5000 --texture 256

The first makes them at full size: 50,000 faces, textures of 2,048 texels a side. The validator
(`gltf-validator`) is installed by npm into a directory that is thrown away, or into --cache. Exit
code 1 if it finds an error or a warning.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.configs.export import ExportConfig, TextureFormat
from engine.export import glb, lattice, mesh, texture

from .subjects import Ball, Box, Solids

VERSION = "2.0.0-dev.3.10"
_AT_ONCE = 20
_SCRIPT = Path(__file__).with_name("gltf_validator.js")


def has_node() -> bool:
    """Whether this machine can run the validator."""
    return all(shutil.which(program) for program in ("node", "npm"))


def install(folder: Path) -> None:
    """Puts the validator into `folder`, unless it is there."""
    if not (folder / "node_modules" / "gltf-validator").is_dir():
        quiet = ["--no-audit", "--no-fund", "--silent"]
        subprocess.run(
            ["npm", "install", "--prefix", str(folder), *quiet, f"gltf-validator@{VERSION}"],
            check=True,
        )


def validate(files: Iterable[Path], folder: Path) -> list[dict[str, Any]]:
    """What the validator says of each file."""
    done = subprocess.run(
        ["node", str(_SCRIPT), str(folder)],
        input="\n".join(map(str, files)),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def shape(seed: int) -> Solids:
    """A few balls and boxes of random sizes, places and colours."""
    rng = np.random.default_rng(seed)
    parts: list[Ball | Box] = [Ball(radius=0.4, colour=tuple(rng.random(3)))]
    for _ in range(rng.integers(1, 6)):
        centre, colour = tuple(rng.uniform(-0.5, 0.5, 3)), tuple(rng.random(3))
        if rng.random() < 0.5:
            parts.append(Ball(centre=centre, radius=rng.uniform(0.05, 0.3), colour=colour))
        else:
            half = tuple(rng.uniform(0.05, 0.3, 3))
            parts.append(Box(centre=centre, half=half, colour=colour))
    return Solids(parts=tuple(parts))


def make(seed: int, config: ExportConfig) -> bytes:
    """The GLB of one of the shapes, with metadata that no text file would survive."""
    scene = shape(seed)
    samples = lattice.sample(scene, config.grid_size)
    surface = mesh.build(scene, samples, config)
    assert surface is not None
    size = config.texture_size
    paint = texture.bake(scene, surface, samples.spacing, size) if size else None
    metadata = {"prompt": f'shape "{seed}"\n\\ 形 \u2028', "seed": str(seed), "licence": "unknown"}
    return glb.encode(surface, metadata, paint, config.texture_format)


def made(count: int, config: ExportConfig, folder: Path) -> Iterator[Path]:
    """Files of many shapes."""
    for seed in range(count):
        path = folder / f"{seed:04d}.glb"
        path.write_bytes(make(seed, config))
        yield path


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals, and the distinct messages of errors and warnings."""
    total = {key: sum(r[key] for r in reports) for key in ("numErrors", "numWarnings", "numInfos")}
    faces = [report["faces"] for report in reports]
    said = {
        f"{message['code']}: {message['message']}"
        for report in reports
        for message in report["messages"]
        if message["severity"] <= 1
    }
    return {"files": len(reports), "faces": [min(faces), max(faces)], **total, "said": sorted(said)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.export.validate_glbs")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--faces", type=int, default=50_000)
    parser.add_argument("--texture", type=int, default=2048, help="0: colours at the vertices")
    parser.add_argument("--grid", type=int, default=192)
    parser.add_argument("--format", choices=["png", "webp"], default="png")
    parser.add_argument("--cache", type=Path, help="where the validator is kept")
    given = parser.parse_args()
    picture_format: TextureFormat = given.format
    config = ExportConfig(
        grid_size=given.grid,
        max_faces=given.faces,
        texture_size=given.texture,
        texture_format=picture_format,
    )
    torch.set_num_threads(1)
    start = time.monotonic()
    reports = []
    with tempfile.TemporaryDirectory() as scratch:
        tool = given.cache or Path(scratch)
        install(tool)
        # A few at a time: a thousand large files would fill a disk.
        files = made(given.count, config, Path(scratch))
        while paths := list(itertools.islice(files, _AT_ONCE)):
            reports += validate(paths, tool)
            for path in paths:
                path.unlink()
    found = summary(reports)
    print(json.dumps(found | {"seconds": round(time.monotonic() - start)}))
    return int(found["numErrors"] + found["numWarnings"] > 0)


if __name__ == "__main__":
    sys.exit(main())
