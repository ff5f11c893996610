"""Judges by their names, and one line for each that is none."""

from pathlib import Path

import pytest

from engine.evaluation import clip_files, judge
from engine.evaluation.examiners import ClipExaminer
from pipeline.errors import UserError
from pipeline.evaluation import judges
from tests.tiny_clip import write_tiny_clip


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("openai/clip-vit-large-patch14", "clip_vit_large_patch14"),
        ("org/Name.v2@refs/pr/3", "name_v2"),
        ("/a/b/ViT B--32/", "vit_b_32"),
        ("gs://bucket/clip", "clip"),
        ("j2", "j2"),
        ("../é", "judge"),
        ("x" * 60, "x" * 40),
    ],
)
def test_labels_are_words_for_columns(name: str, label: str) -> None:
    assert judges.label_of(name) == label


def test_the_published_judges() -> None:
    first, second = judges.find("j1"), judges.find("j2")
    assert (first.name, first.label, first.kind) == ("j1", "j1", "embedded")
    assert second.digest == judge.digest("j2") != first.digest
    assert second.path == judge.directory("j2")
    protocol = second.metric(["a"]).protocol
    assert (protocol["elevation_deg"], len(protocol["azimuths_deg"])) == (30.0, 8)


def test_a_clip_by_its_directory(tmp_path: Path) -> None:
    path = write_tiny_clip(tmp_path / "Tiny-1")
    found = judges.find(f"clip:{path}")
    assert (found.label, found.kind) == ("tiny_1", "clip")
    assert found.name == f"clip:{path}"
    assert found.digest == clip_files.digest(path)
    assert isinstance(found.load(), ClipExaminer)
    (path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be loaded: ") as caught:
        judges.find(f"clip:{path}").load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("j3", r"--judge j3: j3 holds no judge: config\.json is missing"),
        ("clip:/nowhere/at/all", "judge '/nowhere/at/all': no such directory; give a CLIP"),
        ("clip:", "no such directory|type 'clip'|missing"),
    ],
)
def test_what_is_no_judge(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        judges.find(name)
    assert "\n" not in str(caught.value)


def test_a_clip_without_its_prefix(tmp_path: Path) -> None:
    path = write_tiny_clip(tmp_path / "tiny")
    with pytest.raises(UserError, match=r"a CLIP is named `clip:.*tiny`"):
        judges.find(str(path)).load()
