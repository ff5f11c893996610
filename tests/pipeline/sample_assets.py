"""Small true assets for tests: real pictures and real Parquet, a few kilobytes each."""

import io
from datetime import UTC, datetime

import pyarrow as pa
from PIL import Image, ImageDraw

from engine.export.asset import Asset, View
from pipeline.dataset import asset_names
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.records import Prompt, Provenance, RunStart, Task
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from pipeline.store import Store

CARRIED = pa.schema([("collection", pa.string())])
RECIPE_DIGEST = "r" * 64
GUIDANCE_DIGEST = "g" * 64
SIDE_COLOURS = {0: "red", 90: "green", 180: "blue", 270: "yellow"}
"""What a sample shows at each azimuth: a square of this colour on nothing."""


def png(mode: str, colour: object, size: int = 16) -> bytes:
    """A picture with a square of one colour in the middle half."""
    picture = Image.new(mode, (size, size))
    box = (size // 4, size // 4, 3 * size // 4 - 1, 3 * size // 4 - 1)
    ImageDraw.Draw(picture).rectangle(box, fill=colour)  # pyright: ignore[reportArgumentType]
    return _encoded(picture, "PNG")


def sample_view(azimuth_deg: float, size: int = 16) -> View:
    colour = SIDE_COLOURS.get(round(azimuth_deg), "grey")
    return View(
        name=f"azimuth_{azimuth_deg:03.0f}",
        image=png("RGBA", colour, size),
        depth=png("I;16", 1200, size),
        normal=png("RGB", (128, 128, 255), size),
        c2w=[float(i) for i in range(16)],
        fl_x=20.0,
        fl_y=20.0,
        cx=size / 2,
        cy=size / 2,
        w=size,
        h=size,
        depth_scale=1e-3,
        azimuth_deg=azimuth_deg,
        elevation_deg=20.0,
        radius=2.4,
    )


def sample_asset(*, is_empty: bool = False, size: int = 16, num_views: int = 8) -> Asset:
    """An asset of eight views; an empty one has no GLB and NaN where there is no place."""
    place = float("nan") if is_empty else 0.5
    return Asset(
        views=[sample_view(360.0 * k / num_views, size) for k in range(num_views)],
        mesh_glb=None if is_empty else b"glTF" + bytes(100),
        mesh_status="empty" if is_empty else "ok",
        turntable=_encoded(Image.new("RGB", (size, size), "red"), "WEBP"),
        thumb=png("RGB", "red", size),
        field=b"field" * 10,
        mesh={
            "mesh_vertices": 0 if is_empty else 8,
            "mesh_faces": 0 if is_empty else 12,
            "mesh_components": 0 if is_empty else 1,
            "mesh_watertight": not is_empty,
            "mesh_volume": 0.0,
            "mesh_area": 0.0,
            "mesh_level": place,
            **{f"bbox_{end}_{axis}": place for end in ("min", "max") for axis in "xyz"},
        },
    )


def sample_task(number: int = 0, *, prompt: str | None = None, collection: str = "demo") -> Task:
    """The task of manifest row `number`."""
    text = prompt or f"a red ball, number {number}"
    request = Prompt(
        row=number,
        prompt_id=f"row-{number}",
        prompt=text,
        seed=number,
        extra={"collection": collection},
    )
    return Task(
        asset_id=asset_names.asset_id(request, RECIPE_DIGEST, GUIDANCE_DIGEST),
        prompt=request,
        recipe_name="smoke",
        recipe_digest=RECIPE_DIGEST,
        guidance="primitives",
        guidance_digest=GUIDANCE_DIGEST,
    )


def sample_provenance(attempt_id: str = "a" * 32, *, second: int = 0) -> Provenance:
    return Provenance(
        attempt_id=attempt_id,
        seed_used=7,
        attempts=1,
        iterations=30,
        gpu_seconds=1.5,
        device="cpu",
        peak_memory_bytes=1000,
        losses={"sds": 0.25, "opacity": 0.5},
        created_at=datetime(2026, 11, 23, 12, 0, second, tzinfo=UTC),
    )


def sample_bytes(
    task: Task, attempt_id: str = "a" * 32, *, second: int = 0, asset: Asset | None = None
) -> bytes:
    """What an actor would commit for a task."""
    provenance = sample_provenance(attempt_id, second=second)
    return to_parquet_bytes(asset_table(task, asset or sample_asset(), provenance, CARRIED))


def sample_run(run_id: str = "run-1", *, created_at: str = "2026-11-23T12:00:00+00:00") -> RunStart:
    return RunStart(
        run_id=run_id,
        manifest="demo.parquet",
        manifest_digest="0" * 64,
        num_prompts=5,
        num_rejected=1,
        num_committed_before=0,
        num_quarantined_before=0,
        num_assets_before=0,
        guidance="primitives",
        guidance_digest=GUIDANCE_DIGEST,
        recipes={"smoke": {"name": "smoke"}},
        created_at=created_at,
    )


def open_store(url: str) -> Store:
    """A store as `Store.open(url, create=True)` gives it, also on fsspec's `memory://`."""
    fs, root = connect(url)
    store = Store(Objects(fs, root, url=url))
    store.claim_schema(CARRIED)
    return store


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()
