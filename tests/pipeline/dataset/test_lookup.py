"""What a user calls an asset means one asset, wherever it lies, or is told to be a mistake."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import compact
from pipeline.dataset import catalog, lookup
from pipeline.dataset.asset_names import asset_name
from pipeline.errors import UserError
from pipeline.store import Store
from tests.pipeline.packed import ASSET
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_task

NUM_ASSETS = 40
IDS = sorted(sample_task(k).asset_id for k in range(NUM_ASSETS))


def commit(store: Store, number: int, *, prompt_id: str | None = None) -> str:
    """Commits a sample, under another prompt_id if one is given; returns its asset_id."""
    task = sample_task(number)
    if prompt_id is not None:
        task = replace(task, prompt=replace(task.prompt, prompt_id=prompt_id))
    store.commit(task.asset_id, sample_bytes(task, asset=ASSET))
    return task.asset_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Forty assets: some packed and nowhere else, some in the catalog, some in neither."""
    found = open_store(str(tmp_path_factory.mktemp("out")))
    packed = [commit(found, k) for k in range(10)]
    compact.compact(found)
    for asset_id in packed:
        found.objects.remove(asset_name(asset_id))
    for k in range(10, 30):
        commit(found, k)
    catalog.write(found)
    for k in range(30, NUM_ASSETS):
        commit(found, k)
    return found


def shortest(asset_id: str) -> str:
    """The fewest digits by which an id is told from the others."""
    return next(
        asset_id[:n] for n in range(1, 33) if sum(x.startswith(asset_id[:n]) for x in IDS) == 1
    )


@pytest.mark.parametrize("number", [0, 9, 10, 29, 30, 39])
def test_an_asset_has_three_kinds_of_names(store: Store, number: int) -> None:
    asset_id = sample_task(number).asset_id
    for word in (asset_id, shortest(asset_id), asset_id[:31], f"row-{number}"):
        assert lookup.find(store, [word]) == [asset_id]


def test_several_are_found_in_their_order_and_each_once(store: Store) -> None:
    first, second, third = (sample_task(k).asset_id for k in (35, 2, 17))
    words = [first[:31], "row-2", second, third, "row-35"]
    assert lookup.find(store, words) == [first, second, third]


def test_too_few_digits_are_a_mistake_that_names_what_begins_so(store: Store) -> None:
    beginning, several = next(
        (x[:1], found)
        for x in IDS
        if 1 < len(found := [y for y in IDS if y.startswith(x[:1])]) <= 4
    )
    with pytest.raises(UserError) as error:
        lookup.find(store, ["row-1", beginning])
    assert str(error.value) == (
        f"--asset {beginning!r}: {len(several)} asset_ids begin so, say more digits: "
        + ", ".join(several)
    )


@pytest.mark.parametrize(
    "word", ["", "row-40", "row", "../../etc/passwd", IDS[0].upper(), IDS[0] + "0", "0" * 32]
)
def test_a_word_that_names_nothing_is_a_mistake(store: Store, word: str) -> None:
    said = f"^--asset {re.escape(repr(word))}: no asset in .* has this asset_id or prompt_id"
    with pytest.raises(UserError, match=said):
        lookup.find(store, [IDS[0], word])


def test_a_prompt_id_of_several_assets_is_a_mistake_that_names_them(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    ids = sorted(commit(store, k, prompt_id="mine") for k in range(6))
    with pytest.raises(UserError) as error:
        lookup.find(store, ["mine"])
    assert str(error.value) == (
        "--asset 'mine': 6 assets have this prompt_id, say an asset_id: "
        + ", ".join(ids[:4])
        + ", ..."
    )


def test_a_whole_name_goes_before_a_beginning(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    other = commit(store, 0)
    named = commit(store, 1, prompt_id=other[:2])
    assert lookup.find(store, [other[:2]]) == [named]
    assert lookup.find(store, [other[:3]]) == [other]
    commit(store, 2, prompt_id=other)
    assert lookup.find(store, [other]) == [other]


def test_eight_digits_of_an_id_need_no_look_into_the_catalog(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "rows", lambda *_, **__: pytest.fail("it was read"))
    assert lookup.find(store, [IDS[0], IDS[1][:8]]) == IDS[:2]
    with pytest.raises(pytest.fail.Exception):
        lookup.find(store, [IDS[1][:7]])


def test_in_an_output_without_assets_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no asset in"):
        lookup.find(open_store(str(tmp_path)), ["ab"])
