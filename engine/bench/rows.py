"""What is kept of a measurement: one JSON line, which a later one of the same key replaces."""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from engine import kernels


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What every row tells: where it was measured, and of which tree."""

    op: str
    part: str
    setting: str
    device: str
    versions: Mapping[str, str | None]
    commit: str


@dataclass(frozen=True, kw_only=True)
class Row(Measurement):
    """One case on one device."""

    milliseconds: float | None
    """Median; None where kernels were interpreted, which tells nothing of their speed."""
    samples_per_second: float | None
    num_bytes: int
    num_flops: int
    share_of_copy_rate: float | None
    """num_bytes over the time, by the copy rate of the same run."""
    copy_rate: float | None
    """Bytes a second."""
    errors: Mapping[str, float]
    """What the gate saw just before."""


@dataclass(frozen=True, kw_only=True)
class StepRow(Measurement):
    """A whole step of a gang on one device. Times are milliseconds of the whole gang's step."""

    op: str = "step"
    part: str
    """The model."""
    setting: str
    """Recipe, slots, views, and what was switched on."""
    slots: int
    views: int
    samples: int
    """Of a ray."""
    occupied: float
    """Part of the occupancy grid's cells."""
    errors: Mapping[str, float]
    """What the gate saw just before: 1 - cosine of each gradient."""
    parts_ms: Mapping[str, float] | None
    """Medians of CUDA events; None, as all that follows, where nothing was timed."""
    device_ms: float | None = None
    """Median of the whole step, on the clock of the device."""
    wall_ms: float | None = None
    scene_ms: float | None = None
    """Wall time over slots."""
    beside_unet: float | None = None
    """All that is not the U-Net, as a share of it."""
    unet_flops: int | None = None
    unet_share: float | None = None
    """Of the rate of a plain product."""
    vae_flops: Mapping[str, int] | None = None
    """`forward` of the image encoder, and `gradient` to the pictures; None without one. A forward
    that is made anew on the way back is not counted."""
    vae_share: float | None = None
    """Of the rate of a plain product: both ways over the time of the part."""
    matmul_rate: float | None = None
    """FLOPs a second of a plain product, in the same run."""
    graphs: int = 0
    """CUDA graphs that a step is replayed by; 0: none was recorded."""
    activity: Mapping[str, Any] | None = None
    """`engine.bench.activity.Activity`"""
    peak_bytes: int | None = None
    """Of the model and the gang, texts' encoder absent."""


@dataclass(frozen=True, kw_only=True)
class RefillRow(Measurement):
    """A gang whose slots were filled again and again, on one device."""

    op: str = "refills"
    part: str
    """The recipe."""
    setting: str
    """Slots, steps of a scene, and what was switched on."""
    slots: int
    iterations: int
    refills: int
    graphs: int
    seconds: float
    readings: Sequence[Mapping[str, int | None]]
    """Memory by the number of refills before it: `engine.bench.refills.Reading`"""


@dataclass(frozen=True, kw_only=True)
class MemoryRow(Measurement):
    """Memory of a recipe's gangs, on one device."""

    op: str = "memory"
    part: str
    """The model."""
    setting: str
    """Recipe and views."""
    peaks: Mapping[int, int | None]
    """Bytes by the number of scenes, the model included, texts' encoder absent; None: no room."""
    room: int
    """Bytes that a gang may take of this device."""
    most: int
    """The largest power of two of scenes there is room for, by the first two peaks."""


@dataclass(frozen=True, kw_only=True)
class AssetsRow(Measurement):
    """Whole assets made by gangs and exported beside them, on so many devices of one machine."""

    op: str = "assets"
    part: str
    """The model."""
    setting: str
    """Recipe, slots, devices, and what was switched on."""
    slots: int
    devices: int = 1
    scenes: int
    """That the gate held: each ok, and with a mesh."""
    found: float | None
    """Share of them that J1 puts first in their pools of 64; None outside of the embedded world."""
    extrapolated_from: str | None = None
    """Setting and commit of the step whose time was used; None: whole assets were made."""
    assets_per_hour: float | None = None
    """Of all devices together; None, as all that follows, where nothing was timed."""
    asset_seconds: float | None = None
    """Wall time over assets."""
    step_ms: float | None = None
    """Wall time over steps of a gang, refills included."""
    device_ms: float | None = None
    """Median step on the clock of the device."""
    export_seconds: float | None = None
    """Median, beside the gang."""
    export_alone_seconds: float | None = None
    """Median, with the device to itself."""
    exports_at_once: int | None = None
    """Threads of a device that export."""
    export_busy: float | None = None
    """Part of the time in which they were at work; near 1 they are what bounds."""
    exports_behind: int | None = None
    """Scenes that waited for their export in the end, the last generation's not counted."""
    one_device_per_hour: float | None = None
    """Assets of the first device while the others rested, in the same run."""
    times_one: float | None = None
    peak_bytes: int | None = None
    """Of a device."""


def device_name(device: torch.device) -> str:
    """As its vendor names it; of a CPU, that kernels are interpreted there."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"interpreter on {platform.machine()}"


def versions() -> dict[str, str | None]:
    """Of what a kernel's speed depends upon."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": importlib.metadata.version("triton") if kernels.has_triton() else None,
        "cuda": str(torch.version.cuda),
    }


def commit() -> str:
    """Of the tree that runs, with a + if it has been changed since; "unknown" outside of git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def keep(path: Path, rows: Iterable[Measurement]) -> None:
    """Writes rows behind those in the file that have other keys."""
    new = list(rows)
    replaced = {_key(asdict(row)) for row in new}
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if _key(json.loads(line)) not in replaced]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [*kept, *(json.dumps(asdict(r)) for r in new)]))


def _key(row: Mapping[str, object]) -> str:
    """Rows of the same key are measurements of the same thing."""
    names = ("op", "part", "setting", "device", "versions", "commit")
    return json.dumps([row[name] for name in names], sort_keys=True)
