"""One cluster for all tests here, which can reach both object stores; and scenes on it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import Head
from tests.faults import places
from tests.faults.places import Places
from tests.faults.scene import Scene, write_prompts
from tests.pipeline.runs import write_hollow_weights

MakeScene = Callable[..., Scene]


@pytest.fixture(scope="package")
def all_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with places.serve(tmp_path_factory.mktemp("places")) as found:
        yield found


@pytest.fixture(scope="package")
def head(all_places: Places) -> Iterator[Head]:
    """The machines of a cluster inherit what is needed to reach the servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in all_places.environment.items():
            patch.setenv(name, value)
        with clusters.head() as head:
            yield head


@pytest.fixture(scope="package")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hollow_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def scene(head: Head, all_places: Places, weights: Path, tmp_path: Path) -> Iterator[MakeScene]:
    """Makes a scene of a kind of place and some prompts; the servers are well again afterwards."""

    def make(kind: str, *prompts: str) -> Scene:
        directory = tmp_path / kind
        directory.mkdir()
        return Scene(
            directory=directory,
            place=all_places.empty(kind),
            manifest=write_prompts(directory / "manifest.parquet", list(prompts)),
            weights=weights,
            environment={**os.environ, **head.environment(), **all_places.environment},
        )

    yield make
    all_places.gcs.heal()
    all_places.s3.heal()
