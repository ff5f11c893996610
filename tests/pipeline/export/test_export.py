"""`dreambatch export` as its user types it, from local disks and from buckets."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import compact
from pipeline.cli import main
from pipeline.dataset import catalog
from pipeline.dataset.asset_names import asset_name
from pipeline.export import export
from pipeline.store import Store
from tests.pipeline import nerf_reader
from tests.pipeline.packed import fill
from tests.pipeline.real_assets import commit_figure
from tests.pipeline.sample_assets import open_store, sample_asset, sample_bytes, sample_task
from tests.storage_server import StorageServer


def folders(directory: Path) -> list[str]:
    """All that lies in a directory, hidden or not."""
    return sorted(path.name for path in directory.iterdir())


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code of `dreambatch export` and what it says."""
    capsys.readouterr()
    code = main(["export", *words])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A dataset of seven assets, of which the one numbered 3 has no mesh."""
    store = open_store(str(tmp_path / "out"))
    fill(store, [0, 1, 2, 4, 5, 6])
    task = sample_task(3)
    store.commit(task.asset_id, sample_bytes(task, asset=sample_asset(is_empty=True)))
    return tmp_path / "out"


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a true asset; not to be written to."""
    place = tmp_path_factory.mktemp("figure")
    asset_id = commit_figure(open_store(str(place / "out")))
    words = ["--output", str(place / "out"), "--to", str(place / "to"), "--asset", asset_id[:6]]
    assert main(["export", *words]) == 0
    return place / "to" / asset_id


def test_a_reader_of_the_convention_meets_the_surface(figure: Path) -> None:
    """Unprojected depth lies on the mesh, and covers it: axes, scale, cameras and depth agree."""
    points, colours = nerf_reader.cloud(figure)
    surface = nerf_reader.mesh(figure)
    box = float(surface.extents.max())
    there, back = nerf_reader.to_surface(points, surface), nerf_reader.to_points(surface, points)
    figures = {"points": len(points), "there": there.mean() / box, "back": back.mean() / box}
    print(figures)
    assert len(points) > 5_000, figures
    assert there.mean() < 0.01 * box, figures
    assert back.mean() < 0.01 * box, figures
    hat = points[(colours[:, 2] > 150) & (colours[:, 0] < 60)]
    nose = points[(colours[:, 0] > 150) & (colours[:, 2] < 60)]
    arm = points[(colours[:, 1] > 150) & (colours[:, 0] < 60)]
    assert [hat.mean(0).argmax(), nose.mean(0).argmax(), arm.mean(0).argmax()] == [2, 0, 1]


@pytest.mark.parametrize("fault", ["depth", "axes", "pixels", "matrix"])
def test_the_reader_sees_what_is_wrong(tmp_path: Path, figure: Path, fault: str) -> None:
    folder = shutil.copytree(figure, tmp_path / "figure")
    document = json.loads((folder / "transforms.json").read_text())
    if fault == "depth":
        document["integer_depth_scale"] *= 1.03
    if fault == "pixels":
        document["cx"] += 3.0
    for frame in document["frames"]:
        matrix = np.array(frame["transform_matrix"])
        if fault == "axes":
            matrix = matrix[[1, 0, 2, 3]]
        if fault == "matrix":
            matrix[:, 1:3] *= -1.0
        frame["transform_matrix"] = matrix.tolist()
    (folder / "transforms.json").write_text(json.dumps(document))
    surface = nerf_reader.mesh(folder)
    distance = nerf_reader.to_surface(nerf_reader.cloud(folder)[0], surface)
    assert distance.mean() > 0.01 * float(surface.extents.max())


def test_all_assets_are_written_once(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = output.parent / "to"
    words = ("--output", str(output), "--to", str(to), "--all")
    committed = sorted(Store.open(str(output), create=False).committed())
    assert run(capsys, *words) == (0, f"7 assets written to {to}\n")
    assert folders(to) == committed
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    (lost,) = (to / committed[2]).glob("mesh.glb")
    lost.parent.rename(to.parent / "elsewhere")
    assert run(capsys, *words) == (0, f"1 asset written to {to}, 6 were there\n")
    after = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    assert after.keys() == before.keys()
    changed = {path.relative_to(to).parts[0] for path in after if after[path] != before[path]}
    assert changed == {committed[2]}


def test_assets_are_chosen_by_what_a_user_calls_them(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (sample_task(k).asset_id for k in (4, 6))
    to = output.parent / "to"
    words = ("--output", str(output), "--to", str(to), "--asset")
    code, said = run(capsys, *words, first[:8], "row-6", first)
    assert (code, said) == (0, f"2 assets written to {to}\n")
    assert folders(to) == sorted([first, second])
    code, said = run(capsys, *words, first, "xyz")
    assert (code, "--asset 'xyz': no asset in" in said) == (2, True)


def test_assets_are_chosen_by_a_condition(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = output.parent / "to"
    words = ("--output", str(output), "--to", str(to), "--where")
    condition = "mesh_status = 'empty' or prompt like '%number 5'"
    assert run(capsys, *words, condition) == (0, f"2 assets written to {to}\n")
    assert folders(to) == sorted(sample_task(k).asset_id for k in (3, 5))
    assert not (output / "catalog").exists()
    code, said = run(capsys, *words, "clip_score > 0.3")
    assert code == 2
    assert re.fullmatch(r"dreambatch: error: --where 'clip_score > 0.3': .*\n", said)
    assert "mesh_faces" in said


def test_a_selection_of_nothing_is_a_mistake(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = output.parent / "to"
    words = ("--output", str(output), "--to", str(to))
    none = f"--where 'seed > 100': it holds for none of the 7 assets of {output}"
    assert run(capsys, *words, "--where", "seed > 100") == (2, f"dreambatch: error: {none}\n")
    fresh = str(output.parent / "fresh")
    open_store(fresh)
    code, said = run(capsys, "--output", fresh, "--to", str(to), "--all")
    assert (code, said) == (
        2,
        f"dreambatch: error: {fresh} holds no assets yet: nothing to export\n",
    )
    assert not to.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected just one of --asset ID, --all and --where CONDITION"),
        (("--all", "--where", "true"), "expected just one of"),
        (("--all", "--to", "gs://bucket/place"), "expected a directory of this machine"),
        (("--all", "--to", "OUTPUT"), "lies in the dataset"),
        (("--all", "--to", "OUTPUT/assets/../mine"), "lies in the dataset"),
        (("--all", "--format", "obj,stl"), "--format stl: expected some of obj"),
        (("--all", "--as", "webdataset", "--format", "obj"), "more formats are for folders"),
        (("--all", "--as", "webdataset", "--shard-mb", "0"), "--shard-mb 0: expected 1 or more"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    output: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    to, before = output.parent / "to", sorted(output.rglob("*"))
    words = tuple(word.replace("OUTPUT", str(output)) for word in words)
    code, line = run(capsys, "--output", str(output), "--to", str(to), *words)
    assert code == 2
    assert said in line
    assert line.count("\n") == 1
    assert not to.exists()
    assert sorted(output.rglob("*")) == before


def test_a_file_in_the_place_of_the_directory_is_a_mistake(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (output.parent / "to").write_text("a file")
    to = str(output.parent / "to")
    for layout in ("folders", "webdataset"):
        code, line = run(capsys, "--output", str(output), "--to", to, "--all", "--as", layout)
        assert (code, line.count("\n")) == (2, 1)


@pytest.mark.parametrize("layout", ["folders", "webdataset"])
def test_what_is_damaged_is_named_and_the_rest_written(
    output: Path, capsys: pytest.CaptureFixture[str], layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    torn, other, not_a_picture = (sample_task(k) for k in (0, 4, 7))
    path = output / asset_name(torn.asset_id)
    path.write_bytes(path.read_bytes()[:-100])
    store = Store.open(str(output), create=False)
    views = sample_asset()
    views.views[3] = type(views.views[3])(**{**vars(views.views[3]), "depth": b"no PNG"})
    store.commit(not_a_picture.asset_id, sample_bytes(not_a_picture, asset=views))
    to = output.parent / "to"
    words = ("--output", str(output), "--to", str(to), "--all", "--as", layout)
    code, line = run(capsys, *words)
    assert code == 3
    assert f"6 assets written to {to}, 2 damaged and left out" in line
    named = sorted(record.getMessage().split(": ")[1] for record in caplog.records)
    assert named == sorted([torn.asset_id, not_a_picture.asset_id])
    assert not any("\n" in record.getMessage() for record in caplog.records)
    assert not [path for path in to.iterdir() if path.name.startswith(".")]
    if layout == "folders":
        assert other.asset_id in folders(to)
        assert torn.asset_id not in folders(to)


@pytest.mark.parametrize("partition_by", [None, "collection"])
def test_packed_assets_are_like_loose_ones(output: Path, partition_by: str | None) -> None:
    store = Store.open(str(output), create=False)
    catalog.write(store)
    for to in ("loose", "packed"):
        request = export.Request(directory=str(output.parent / to), is_all=True)
        done = export.export(str(output), request, say=print)
        assert done == export.Exported(num_written=7, num_there=0, num_damaged=0)
        compact.compact(store, partition_by=partition_by)
        for path in (output / "assets").rglob("*.parquet"):
            path.unlink()
    loose, packed = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (output.parent / "loose", output.parent / "packed")
    )
    assert loose == packed
    metadata = next(data for path, data in packed.items() if path.name == "metadata.json")
    assert json.loads(metadata)["columns"] == {"collection": "demo"}


def test_buckets_are_read(server: StorageServer, tmp_path: Path) -> None:
    url = server.url("out")
    store = open_store(url)
    asset_ids = fill(store, range(9))
    compact.compact(store)
    asset_ids |= fill(store, range(9, 12))
    request = export.Request(directory=str(tmp_path / "to"), condition="seed != 5")
    done = export.export(url, request, say=print)
    assert done == export.Exported(num_written=11, num_there=0, num_damaged=0)
    assert folders(tmp_path / "to") == sorted(asset_ids - {sample_task(5).asset_id})
