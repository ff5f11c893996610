"""Draws `dashboards/preview-*.png` from a run of minutes: `python -m tests.monitoring.previews`.

The machines are those of `world`: two actors with a core each. The recipe is `primitives_cpu` with
a fifth of its steps; a row is rejected, and one actor is killed on the way.
"""

import argparse
import json
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from engine import recipes
from pipeline.dashboards.preview import album, prometheus
from tests import clusters
from tests.faults.inside import wait_for
from tests.monitoring import world
from tests.monitoring.world import Watched
from tests.pipeline.runs import write_manifest

PROMPTS = [
    *("a red car with blue wheels", "a blue lamp with purple stand", "a brown table", "a blue cup"),
    *("a green chair with blue legs", "a yellow duck with green beak", "a purple teapot"),
    *("a white snowman with black hat", "a red mushroom with white stem", "a pink umbrella"),
    *("a grey robot with red head", "three green balls in a row", "an orange boat with white sail"),
    *(
        "a black sword",
        "a cyan rocket",
        "a red arch",
        "a green cone",
        "a yellow cake",
        "a blue torus",
    ),
]
_STEPS = 60
_ASSETS_BEFORE_THE_ACCIDENT = 6
_ACCIDENT_SECONDS = 1200
_PATIENCE_SECONDS = 1500
_WINDOW = "5m"
_SCRAPE_SECONDS = 2.0


def main() -> None:
    """Makes the run and draws each dashboard over it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="an empty one for all files; without it none are kept")
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        world.watch(Path(wanted.directory or name), patience=_PATIENCE_SECONDS) as found,
    ):
        _draw(found)


def _draw(watched: Watched) -> None:
    quick = replace(recipes.get("primitives_cpu"), name="quick", iterations=_STEPS)
    (recipe := watched.directory / "quick.json").write_text(json.dumps(quick.to_dict()))
    manifest = write_manifest(watched.directory / "prompts.parquet", [*PROMPTS, ""])
    with ThreadPoolExecutor(1) as beside:
        accident = beside.submit(_kill_an_actor, watched, watched.directory / "made")
        run = watched.submit("made", manifest, recipe)
    accident.result()
    span = prometheus.Span(start=run.start, end=run.end, scrape_seconds=_SCRAPE_SECONDS)
    given = {"run": run.run_id, "window": _WINDOW}
    query = prometheus.query(watched.prometheus.url)
    for path in album.write(watched.directory, query, span, given):
        target = clusters.ROOT / "dashboards" / f"preview-{path.name}"
        target.write_bytes(path.read_bytes())
        print(target.name, target.stat().st_size)


def _kill_an_actor(watched: Watched, output: Path) -> None:
    """Once so many assets are there."""

    def is_time() -> bool:
        return len(list(output.glob("assets/*/*.parquet"))) >= _ASSETS_BEFORE_THE_ACCIDENT

    assert wait_for(is_time, _ACCIDENT_SECONDS), "too few assets"
    os.kill(clusters.named(watched.machine.pid, "ray::OptimizationActor")[0], signal.SIGKILL)


if __name__ == "__main__":
    main()
