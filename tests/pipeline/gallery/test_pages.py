import os
import re
import time
import tomllib
from pathlib import Path

import pytest

import pipeline.gallery
from pipeline.errors import UserError
from pipeline.gallery import pages

SITE = Path(pipeline.gallery.__file__).parent / "site"
HOUR = 3600.0


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for file in [path, *path.rglob("*")]:
        os.utime(file, (then, then))


def publish(directory: Path, *words: str) -> set[str]:
    """A page of some data, the first of which is its index; the names of what it needs."""
    site = pages.open_site(str(directory))
    names = [pages.write_data(site, "rows", word.encode()) for word in words[1:]]
    index = pages.write_data(site, "index", words[0].encode())
    assert pages.publish(site, index=index, kept=names) == f"{directory}/index.html"
    return {index, *names}


def data(directory: Path) -> set[str]:
    return {f"data/{path.name}" for path in (directory / "data").iterdir()}


def test_a_page_names_its_code_and_its_data_and_all_of_it_is_there(tmp_path: Path) -> None:
    names = publish(tmp_path, "index", "rows")
    assert data(tmp_path) == names
    page = (tmp_path / "index.html").read_text()
    assert "{{" not in page
    named = re.findall(r'(?:src|href)="([^#"]*)"', page)
    assert len(named) > 10
    for name in named:
        assert (tmp_path / name).is_file(), name
    assert {Path(name).name for name in named if name.startswith("site/")} == {
        path.name for path in SITE.iterdir() if path.suffix != ".html"
    }


def test_a_page_runs_nothing_but_its_own_files(tmp_path: Path) -> None:
    publish(tmp_path, "index")
    page = (tmp_path / "index.html").read_text()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", page)
    for path in SITE.iterdir():
        source = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", source)
        assert not re.search(r"\beval\(|new Function|fetch\(|XMLHttpRequest|import\(", source)
        addresses = set(re.findall(r"https?://[^\s\"'<>]+", source))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_an_earlier_page_s_files_go_when_nobody_can_have_it_open(tmp_path: Path) -> None:
    first = publish(tmp_path, "one", "shared", "old")
    age(tmp_path / "data", HOUR / 2)
    second = publish(tmp_path, "two", "shared")
    assert data(tmp_path) == first | second
    age(tmp_path / "data", HOUR * 2)
    third = publish(tmp_path, "three", "shared")
    assert data(tmp_path) == third
    assert len(third & first) == 1


def test_an_earlier_version_s_code_goes_likewise(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    (version,) = (tmp_path / "site").iterdir()
    old = version.rename(version.with_name("0" * 16))
    publish(tmp_path, "one")
    assert old.exists()
    age(tmp_path, HOUR * 2)
    publish(tmp_path, "one")
    assert not old.exists()
    assert version.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    foreign = [tmp_path / name for name in ("notes.txt", "data/mine.js", "site/mine/x.js")]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    age(tmp_path, HOUR * 2)
    publish(tmp_path, "two")
    assert [path.read_text() for path in foreign] == ["mine"] * 3


def test_a_page_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<h1>My site</h1>")
    with pytest.raises(UserError, match=r"holds an index\.html that is no gallery: name another"):
        pages.open_site(str(tmp_path))
    assert page.read_text() == "<h1>My site</h1>"


@pytest.mark.parametrize("inner", ["", "/in", "/in/it", "/"])
def test_a_file_is_named_as_the_user_did(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").write_text("mine")
    url = f"{tmp_path}/file{inner}"
    with pytest.raises(UserError, match=f"^cannot use {re.escape(url)}: it is no directory"):
        pages.open_site(url)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        pages.open_site(str(tmp_path))


def test_a_kill_before_the_last_step_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "one")
    before = (tmp_path / "index.html").read_text()

    def killed() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "_template", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, "two")
    assert (tmp_path / "index.html").read_text() == before


def test_the_package_brings_the_page() -> None:
    settings = tomllib.loads((SITE.parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "pipeline.gallery" in settings["packages"]
    patterns = settings["package-data"]["pipeline.gallery"]
    brought = {path for pattern in patterns for path in SITE.parent.glob(pattern)}
    assert brought == set(SITE.iterdir())
