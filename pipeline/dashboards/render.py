"""The dashboards' files: what Grafana, or the ConfigMaps of `dashboards/`, take."""

import json
from pathlib import Path

from pipeline.dashboards import gpus, job, quality, store
from pipeline.dashboards.panels import Json

_BUILDERS = {"job": job.build, "gpus": gpus.build, "store": store.build, "quality": quality.build}


def dashboards() -> dict[str, Json]:
    """Every dashboard by its name."""
    return {name: build() for name, build in _BUILDERS.items()}


def files() -> dict[str, str]:
    """Every file's content by its name."""
    return {
        f"{name}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n"
        for name, board in dashboards().items()
    }


def write(directory: Path) -> list[Path]:
    """Writes the files and returns where they are. OSError for a place that cannot be used."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files().items():
        (path := directory / name).write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
