"""The pictures of all dashboards of one run, as files."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.dashboards import render
from pipeline.dashboards.preview import picture, variables
from pipeline.dashboards.preview.prometheus import Query, Span


def write(directory: Path, query: Query, span: Span, given: Mapping[str, str]) -> list[Path]:
    """Draws each dashboard over the part of the span in which its run was scraped.

    `given` are values of variables; `run` is the newest by default. UserError where Prometheus has
    no such run, OSError for a place that cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, dashboard in render.dashboards().items():
        values = variables.resolve(dashboard, query, span, given)
        life = variables.lifetime(query, span, values["run"])
        png = picture.draw(dashboard, query, life, values)
        (path := directory / f"{name}.png").write_bytes(png)
        paths.append(path)
    return paths
