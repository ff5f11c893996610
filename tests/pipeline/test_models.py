"""Where models come from: names that lead to a directory, and one line for each that does not."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import huggingface_hub
import pytest
from huggingface_hub import errors

from engine.guidance import files
from pipeline import models
from pipeline.errors import UserError
from tests.pipeline.runs import write_hollow_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "cache"))


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the hub was asked")


def test_the_packaged_model_keeps_its_name() -> None:
    found = models.find("primitives")
    assert found.name == "primitives"
    assert found.path == files.resolve("primitives")


def test_a_directory_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its relative path could be an id of the hub."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    write_hollow_weights(tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)
    found = models.find("org/name")
    assert found.name == str(tmp_path / "org/name")
    assert models.find(f"file://{tmp_path}/org/name").path == tmp_path / "org/name"
    with pytest.raises(UserError, match="no such directory"):
        models.find("/nowhere/at/all")


@pytest.mark.parametrize(
    ("name", "revision"),
    [("org/name", None), ("org/na.me@v1.0", "v1.0"), ("o/n@refs/pr/3", "refs/pr/3")],
)
def test_a_hub_id_is_pinned_to_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, revision: str | None
) -> None:
    asked: list[Any] = []
    snapshot = write_hollow_weights(tmp_path / "snapshots" / COMMIT)

    def download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        assert allow_patterns == list(files.PATTERNS)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = models.find(name)
    repo = name.partition("@")[0]
    assert asked == [(repo, revision)]
    assert found == models.Model(name=f"{repo}@{COMMIT}", path=snapshot)


def error(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors.HfHubHTTPError):
        response: Any = SimpleNamespace(headers={}, request=None)
        return kind("said\nmuch", response=response)
    return kind("said\nmuch")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.GatedRepoError, "licence has to be accepted; do so at https://.*/org/name, then"),
        (errors.RepositoryNotFoundError, "no repository of the hub .*; name a mirror of it"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.LocalEntryNotFoundError, "not in the hub's cache .*HF_HUB_OFFLINE is set; fetch"),
        (errors.HfHubHTTPError, "said much.*; try again, or name a mirror"),
        (ConnectionError, "said much; try again"),
    ],
)
def test_every_refusal_of_the_hub_is_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str
) -> None:
    def download(*_: object, **__: object) -> str:
        raise error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UserError, match=message) as caught:
        models.find("org/name@main")
    assert str(caught.value).startswith("guidance 'org/name@main': ")
    assert "\n" not in str(caught.value)


def test_offline_the_hub_s_cache_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client itself, with an empty cache and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="not in the hub's cache of this machine"):
        models.find("org/name")
    repo = tmp_path / "hub" / "models--org--name"
    write_hollow_weights(repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    found = models.find("org/name")
    assert found == models.Model(name=f"org/name@{COMMIT}", path=repo / "snapshots" / COMMIT)
    assert models.find(found.name) == found
    (found.path / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"missing: .*diffusion_pytorch_model\.safetensors; give"):
        models.find("org/name")


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    """A model in a place that is not this machine's disk."""
    fs = fsspec.filesystem("memory")
    source = write_hollow_weights(tmp_path / "source")
    root = f"/bucket-{tmp_path.name}/model"
    for path in source.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{root}/{path.relative_to(source)}", path.read_bytes())
    fs.pipe_file(f"{root}/unet/diffusion_pytorch_model.bin", b"pickled")
    return f"memory:/{root}"


def test_a_url_is_mirrored_once(bucket: str, tmp_path: Path) -> None:
    found = models.find(bucket)
    assert found.name == bucket
    assert found.path.is_relative_to(tmp_path / "cache")
    assert files.digest(found.path) == files.digest(tmp_path / "source")
    assert not (found.path / "unet/diffusion_pytorch_model.bin").exists()
    marker = found.path / "marker"
    marker.touch()
    assert models.find(bucket + "/").path == found.path
    assert marker.exists(), "nothing was fetched again"


def test_a_changed_url_is_mirrored_anew(bucket: str) -> None:
    before = models.find(bucket)
    name = f"{bucket}/unet/diffusion_pytorch_model.safetensors"
    with fsspec.open(name, "wb") as stream:
        stream.write(b"other weights")  # type: ignore[attr-defined]
    after = models.find(bucket)
    assert files.digest(after.path) != files.digest(before.path)


def test_an_incomplete_url_leaves_nothing(bucket: str, tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.rm_file(f"{bucket.removeprefix('memory:/')}/model_index.json")
    with pytest.raises(UserError, match=r"missing: .*model_index\.json; give a directory"):
        models.find(bucket)
    assert not [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.suffix != ".lock" and path.is_file()
    ]


@pytest.mark.parametrize("url", ["memory://empty-place/model", "nosuch://bucket/model"])
def test_a_url_without_a_model_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match=url) as caught:
        models.find(url)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_to(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=f"cannot keep models in .*by {models.CACHE_VARIABLE}"):
        models.find(bucket)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_hollow_weights(tmp_path / "m")
    (path / "unet/config.json").write_text(json.dumps({"in_channels": 9, "out_channels": 4}))
    with pytest.raises(UserError, match="got 9 and 4; give a directory"):
        models.find(str(path))


def test_a_clip_is_found_as_a_diffusion_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"model_type": "clip"}')
    for name in ("tokenizer.json", "model.safetensors", "pytorch_model.bin"):
        (source / name).write_bytes(b"{}")
    assert models.find(str(source), models.CLIP).path == source
    root = f"/bucket-{tmp_path.name}/clip"
    for path in source.iterdir():
        fsspec.filesystem("memory").pipe_file(f"{root}/{path.name}", path.read_bytes())
    mirrored = models.find(f"memory:/{root}", models.CLIP).path
    names = {path.name for path in mirrored.iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors"}
    with pytest.raises(UserError, match=r"judge memory:.* its config\.json"):
        models.find("memory://bucket/nothing", models.CLIP)

    def download(*_: object, allow_patterns: list[str], **__: object) -> str:
        assert "model.safetensors" in allow_patterns
        assert "model_index.json" not in allow_patterns
        raise errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UserError, match=r"judge 'org/clip': not in the hub's cache"):
        models.find("org/clip", models.CLIP)
    with pytest.raises(UserError, match="no such directory"):
        models.find("primitives", models.CLIP)
