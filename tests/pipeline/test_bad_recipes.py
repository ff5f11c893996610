"""Recipe files and flags that nobody should write: a user's mistake in one line, or a recipe that
is the one that was meant."""

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import recipes
from pipeline import cli, exit_codes
from tests.pipeline.runs import write_manifest

TEXT = st.text(max_size=12)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, -1, 1e308, 10**400])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    write_manifest(folder / "m.parquet", ["a ball"])
    return folder


def dreambatch(*arguments: object) -> tuple[int, str]:
    """Exit code and words of a command that ends well or with a mistake of the user's."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    if code == exit_codes.COMPLETE:
        assert err.getvalue() == ""
        return code, out.getvalue()
    assert code == exit_codes.USER
    assert err.getvalue().startswith("dreambatch: error: ")
    assert err.getvalue().count("\n") == 1
    return code, err.getvalue()


def check(path: Path, folder: Path) -> int:
    """The verdict on a recipe file, which all commands share."""
    code, _ = dreambatch("recipes", "show", path)
    again, _ = dreambatch("validate", "--manifest", folder / "m.parquet", "--recipe", path)
    assert code == again
    return code


def paths(settings: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where the settings of a recipe lie, groups included."""
    found: list[tuple[str, ...]] = []
    for name, value in settings.items():
        found.append((*prefix, name))
        if isinstance(value, dict):
            found += paths(value, (*prefix, name))
    return found


SMOKE = recipes.get("smoke").to_dict()
PATHS = paths(SMOKE)


def changed(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The smoke recipe with another value at a path."""
    document = json.loads(json.dumps(SMOKE))
    group = document
    for name in path[:-1]:
        group = group[name]
    group[path[-1]] = value
    return document


def test_the_recipe_itself_is_good(folder: Path) -> None:
    assert len(PATHS) > 30
    (folder / "smoke.json").write_text(json.dumps(SMOKE))
    assert check(folder / "smoke.json", folder) == exit_codes.COMPLETE


@given(path=st.sampled_from(PATHS), value=JUNK)
@example(path=("field", "bound"), value=10**400)
@settings(max_examples=100, deadline=None)
def test_a_setting_of_another_value(folder: Path, path: tuple[str, ...], value: object) -> None:
    (folder / "changed.json").write_text(json.dumps(changed(path, value)))
    code = check(folder / "changed.json", folder)
    if isinstance(value, float) and not math.isfinite(value):
        assert code == exit_codes.USER


@given(path=st.sampled_from(PATHS), name=TEXT, value=JUNK)
@settings(max_examples=40, deadline=None)
def test_a_setting_that_does_not_exist(
    folder: Path, path: tuple[str, ...], name: str, value: object
) -> None:
    where = (*path[:-1], name + "?")
    (folder / "unknown.json").write_text(json.dumps(changed(where, value)))
    assert check(folder / "unknown.json", folder) == exit_codes.USER


@given(path=st.sampled_from(PATHS))
@settings(max_examples=30, deadline=None)
def test_a_setting_that_is_left_out(folder: Path, path: tuple[str, ...]) -> None:
    document = json.loads(json.dumps(SMOKE))
    group = document
    for name in path[:-1]:
        group = group[name]
    del group[path[-1]]
    (folder / "left_out.json").write_text(json.dumps(document))
    check(folder / "left_out.json", folder)


@given(
    content=st.binary(max_size=60)
    | JUNK.map(lambda value: json.dumps(value).encode())
    | st.integers(0, len(json.dumps(SMOKE)) - 1).map(lambda n: json.dumps(SMOKE).encode()[:n])
    | st.sampled_from([b"\xff\xfe{", b"9" * 5000, b"NaN", b"\xef\xbb\xbf{}"])
)
@settings(max_examples=80, deadline=None)
def test_a_file_of_anything(folder: Path, content: bytes) -> None:
    (folder / "anything.json").write_bytes(content)
    assert check(folder / "anything.json", folder) == exit_codes.USER


@pytest.mark.parametrize("content", [b"[", b'{"a":'])
def test_a_file_of_endless_nesting(folder: Path, content: bytes) -> None:
    (folder / "nested.json").write_bytes(content * 100_000)
    assert check(folder / "nested.json", folder) == exit_codes.USER


@given(
    document=st.fixed_dictionaries(
        {"recipes": JUNK | st.dictionaries(st.sampled_from(["smoke", "x"]), JUNK)},
        optional={"details": JUNK | st.dictionaries(st.just("recipe"), JUNK | st.just("smoke"))},
    )
)
@settings(max_examples=60, deadline=None)
def test_a_run_record_of_anything(folder: Path, document: dict[str, Any]) -> None:
    (folder / "run.json").write_text(json.dumps(document))
    assert check(folder / "run.json", folder) == exit_codes.USER


@given(name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_recipe_of_any_name(folder: Path, name: str) -> None:
    command = ["validate", "--manifest", str(folder / "m.parquet"), f"--recipe={name}"]
    assert dreambatch(*command)[0] == exit_codes.USER


FLAGS = {
    "slots": st.integers(-(2**70), 0),
    "gpus": st.integers(-(2**70), 0),
    "limit": st.integers(-(2**70), 0),
    "metrics-port": st.integers(-(2**70), -1) | st.integers(65536, 2**70),
}


@given(data=st.data(), flag=st.sampled_from(sorted(FLAGS)))
@settings(max_examples=30, deadline=None)
def test_flags_out_of_range(folder: Path, data: st.DataObject, flag: str) -> None:
    number = data.draw(FLAGS[flag])
    words = ["run", "--manifest", folder / "m.parquet", "--output", folder / "out"]
    code, said = dreambatch(*words, f"--{flag}={number}")
    assert code == exit_codes.USER
    assert f"--{flag}: expected " in said
    assert not (folder / "out").exists()
