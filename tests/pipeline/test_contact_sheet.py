import io
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from engine.export.sheet import Row
from pipeline import contact_sheet
from pipeline.dataset import catalog
from pipeline.errors import InvalidStore, UserError
from pipeline.store import Store
from tests.pipeline.sample_assets import (
    SIDE_COLOURS,
    open_store,
    sample_asset,
    sample_bytes,
    sample_task,
)

SIZE = 64


def filled(path: Path, count: int, *, num_views: int = 8, prompt: str | None = None) -> Store:
    store = open_store(str(path))
    asset = sample_asset(size=SIZE, num_views=num_views)
    for k in range(count):
        task = sample_task(k, prompt=prompt and f"{prompt} {k}")
        store.commit(task.asset_id, sample_bytes(task, second=k % 60, asset=asset))
    return store


def drawn(store: Store, **options: int) -> Image.Image:
    return Image.open(io.BytesIO(contact_sheet.draw(store, **options))).convert("RGB")


def squares(sheet: Image.Image) -> dict[str, list[tuple[int, int]]]:
    """Upper left corners of the squares of each side's colour."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name in SIDE_COLOURS.values():
        colour = ImageColor.getrgb(name)
        corners = found.setdefault(name, [])
        for y in range(1, sheet.height):
            for x in range(1, sheet.width):
                above, left = sheet.getpixel((x, y - 1)), sheet.getpixel((x - 1, y))
                if sheet.getpixel((x, y)) == colour and colour not in (above, left):
                    corners.append((x, y))
    return found


def test_each_asset_is_shown_from_four_sides_in_order(tmp_path: Path) -> None:
    found = squares(drawn(filled(tmp_path, 3)))
    assert {name: len(corners) for name, corners in found.items()} == dict.fromkeys(found, 3)
    for sides in zip(
        *(sorted(found[name]) for name in ("red", "green", "blue", "yellow")), strict=True
    ):
        xs, ys = zip(*sides, strict=True)
        assert [x - xs[0] for x in xs] == [0, SIZE, 2 * SIZE, 3 * SIZE]
        assert len(set(ys)) == 1


def test_nothing_is_white_and_the_prompt_stands_underneath(tmp_path: Path) -> None:
    sheet = drawn(filled(tmp_path, 1))
    (x, y) = squares(sheet)["red"][0]
    assert sheet.getpixel((x - SIZE // 8, y)) == (255, 255, 255)
    caption = sheet.crop((0, y + 3 * SIZE // 4, sheet.width, sheet.height)).convert("L")
    assert min(caption.tobytes()) < 100


def test_the_nearest_view_stands_for_a_side(tmp_path: Path) -> None:
    found = squares(drawn(filled(tmp_path, 1, num_views=3)))
    assert {name: len(corners) for name, corners in found.items()} == {
        "red": 1,
        "green": 0,
        "blue": 0,
        "yellow": 0,
    }


def test_a_page_holds_the_newest_and_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 7)
    heads: list[str] = []
    captions: list[list[str]] = []
    sheet = contact_sheet.contact_sheet

    def watched(rows: list[Row], head: str) -> bytes:
        heads.append(head)
        captions.append([row.caption for row in rows])
        return sheet(rows, head)

    monkeypatch.setattr(contact_sheet, "contact_sheet", watched)
    for page in range(3):
        contact_sheet.draw(store, max_assets=3, page=page)
    contact_sheet.draw(store)
    sides = "each from azimuth 0, 90, 180, 270 degrees"
    assert heads == [
        f"assets 1 to 3 of 7, newest first, {sides}",
        f"assets 4 to 6 of 7, newest first, {sides}",
        f"assets 7 to 7 of 7, newest first, {sides}",
        f"7 assets, newest first, {sides}",
    ]
    assert captions[:3] == [
        [f"a red ball, number {k}" for k in numbers] for numbers in ((6, 5, 4), (3, 2, 1), (0,))
    ]
    with pytest.raises(UserError, match="has no assets on page 3: it holds 7"):
        contact_sheet.draw(store, max_assets=3, page=3)


@pytest.mark.parametrize("prompt", ["x" * 4000, "word " * 800, "一个红色的蘑菇" * 50])
def test_a_long_prompt_stays_in_its_place(tmp_path: Path, prompt: str) -> None:
    plain = drawn(filled(tmp_path / "plain", 2))
    assert drawn(filled(tmp_path / "long", 2, prompt=prompt)).size == plain.size


def test_the_sheet_is_kept_in_the_dataset(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    address = contact_sheet.write(store)
    assert address == f"{tmp_path}/contact_sheet.png"
    with Image.open(tmp_path / contact_sheet.NAME) as sheet:
        assert sheet.format == "PNG"


def test_a_damaged_asset_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that the catalog knows from better days."""
    store = filled(tmp_path, 3)
    catalog.write(store)
    first, *others = sorted((tmp_path / "assets").rglob("*.parquet"))
    first.write_bytes(b"PAR1")
    found = squares(drawn(store))
    assert {len(corners) for corners in found.values()} == {2}
    assert any(first.name in message for message in caplog.messages)
    for path in others:
        path.write_bytes(b"PAR1")
    with pytest.raises(InvalidStore, match="none of the assets on page 0 can be read"):
        contact_sheet.draw(store)
    assert contact_sheet.write(store) is None
    assert not (tmp_path / contact_sheet.NAME).exists()
