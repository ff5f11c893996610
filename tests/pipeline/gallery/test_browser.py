"""The page in a real browser: offline, from a server and from a file, with hostile prompts.

Nothing but the page's own files may be asked for, and the console must stay without errors: the
fixture `open_page` holds both for every test here.
"""

import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pipeline import gallery
from pipeline.dataset.asset_table import asset_table, scalar_names
from pipeline.gallery import building, media, pages
from pipeline.gallery.rows import Rows
from pipeline.gallery.unmade import Unmade
from tests.pipeline.gallery.conftest import OpenPage
from tests.pipeline.gallery.samples import (
    HOSTILE,
    SMALL,
    add_unmade,
    commit,
    cube,
    textured_square,
    with_mesh,
)
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_asset,
    sample_provenance,
    sample_task,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NUM_MANY = 10_000
FIRST_PAINT_MS = 3000.0
PLAIN = ["a red car", "a green chair", "a blue lamp"]
RED, BLUE = (255, 0, 0), (0, 0, 255)
COLOUR = (230, 26, 26)
"""The cube's 0.9, 0.1, 0.1 as sRGB, once it went through linear light and back."""
SMALL_WINDOW = {"width": 560, "height": 480}
"""Software GL draws every pixel on the CPU."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of plain and hostile prompts, of which asset 1 is a red cube, 2 a square with a
    picture, 3 has no mesh and 4 was capped."""
    root = tmp_path_factory.mktemp("gallery")
    store = open_store(str(root / "data"))
    assets = {
        1: with_mesh(cube()),
        2: with_mesh(textured_square()),
        3: sample_asset(is_empty=True),
    }
    for number, prompt in enumerate([*PLAIN, *HOSTILE], start=1):
        commit(
            store,
            number,
            prompt=prompt,
            collection=HOSTILE[number % 3],
            asset=assets.get(number, with_mesh(cube())),
            status="capped" if number == 4 else "ok",
        )
    add_unmade(store)
    gallery.build(store, str(root / "page"), say=print)
    return root / "page"


@pytest.fixture(params=["server", "file"])
def home(request: pytest.FixtureRequest, site: Path, served: Callable[[Path], str]) -> str:
    """Where the gallery is, by the two ways in which people open it."""
    return served(site) if request.param == "server" else f"file://{site}/index.html"


@pytest.fixture
def address(site: Path) -> str:
    return f"file://{site}/index.html"


def prompts(page: Page) -> list[str]:
    """What stands under the cards, in order."""
    texts: list[str] = page.locator(".card .prompt").evaluate_all(
        "cards => cards.map(card => card.textContent)"
    )
    return texts


def open_asset(page: Page, prompt: str) -> None:
    """Looks for a card, which need not exist yet, clicks it and waits for its mesh."""
    page.locator("#query").fill(prompt)
    expect(page.locator(".card")).to_have_count(1)
    page.locator(".card a").click()
    page.wait_for_selector(".stage.ready")


def canvas(page: Page) -> np.ndarray:
    """What the canvas shows, with the page's background behind it: row, column, RGB."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    png = page.locator("#canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int], within: int = 3) -> float:
    """Share of the pixels that have a colour."""
    return float((np.abs(picture - colour).max(axis=-1) <= within).mean())


def test_everything_is_there(home: str, open_page: OpenPage) -> None:
    page = open_page(home)
    expect(page.locator("#name")).to_have_text("data")
    facts = dict(
        zip(
            page.locator("#facts dt").all_text_contents(),
            page.locator("#facts dd").all_text_contents(),
            strict=True,
        )
    )
    assert facts == {
        "Assets": "13",
        "Quarantined": "2",
        "Rejected": "1",
        "Device time": "19.5 s",
        "Recipe": "smoke",
        "Model": "primitives",
    }
    expect(page.locator("#found")).to_have_text("13 assets")
    assert prompts(page) == [*PLAIN, *HOSTILE][::-1]
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card img')].every(image => image.naturalWidth > 0)"
    )


def test_search_filter_and_order(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.locator("#query").fill("CHAIR green")
    expect(page.locator("#found")).to_have_text("1 of 13 assets")
    assert prompts(page) == ["a green chair"]
    page.locator("#query").fill("")
    expect(page.locator("#found")).to_have_text("13 assets")
    page.locator(".choice", has_text="capped").locator("input").check()
    expect(page.locator("#found")).to_have_text("1 of 13 assets")
    assert prompts(page) == [HOSTILE[0]]
    page.locator(".chip").click()
    expect(page.locator("#found")).to_have_text("13 assets")
    page.locator("#sort").select_option("created_at:up")
    assert prompts(page) == [*PLAIN, *HOSTILE]


def test_a_column_of_the_user_orders_and_stands_under_each_card(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(address)
    page.locator("#sort").select_option("collection:down")
    under = page.locator(".card .under").all_text_contents()
    values = [text.partition("collection ")[2] for text in under]
    assert set(values) == set(HOSTILE[:3])
    assert len(list(itertools.groupby(values))) == 3


def test_a_number_is_filtered_by_its_range(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.locator(".more summary").click()
    page.get_by_label("Seed from", exact=True).fill("3")
    page.get_by_label("Seed to", exact=True).fill("5")
    page.get_by_label("Seed to", exact=True).blur()
    expect(page.locator("#found")).to_have_text("3 of 13 assets")
    assert prompts(page) == [HOSTILE[1], HOSTILE[0], PLAIN[2]]
    assert page.locator(".chip").text_content() == "Seed 3 to 5×"
    page.get_by_label("Seed from", exact=True).fill("three")
    page.get_by_label("Seed from", exact=True).blur()
    expect(page.get_by_label("Seed from", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#found")).to_have_text("5 of 13 assets")


def test_what_one_sees_can_be_sent_along(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.locator(".choice", has_text="capped").locator("input").check()
    page.locator("#query").fill("script")
    expect(page.locator("#found")).to_have_text("1 of 13 assets")
    page.locator(".card a").click()
    page.wait_for_selector(".stage.ready")
    again = open_page(address, fragment=page.evaluate("location.hash"))
    expect(again.locator("#detail-prompt")).to_have_text(HOSTILE[0])
    expect(again.locator("#query")).to_have_value("script")
    expect(again.locator("#found")).to_have_text("1 of 13 assets")
    page.go_back()
    expect(page.locator("#detail")).not_to_be_visible()


def test_an_address_that_makes_no_sense_does_no_harm(address: str, open_page: OpenPage) -> None:
    filters = [
        "[",
        '["seed",{}]',
        '["seed",{"from":"x"}]',
        "[1,2]",
        '["status",{}]',
        '["seed",null]',
        '["prompt",{"contains":1}]',
        "%",
    ]
    fragment = "&".join(["#asset=x", "sort=y:down", "view=z", *(f"f={x}" for x in filters)])
    page = open_page(address, fragment=fragment)
    expect(page.locator("#found")).to_have_text("13 assets")
    expect(page.locator(".chip")).to_have_count(0)


def test_failures_tell_their_reasons(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.locator("#show-unmade").click()
    texts = page.locator(".failure").all_text_contents()
    assert len(texts) == 3
    assert any(HOSTILE[0] in x and "the density is not finite, attempt 2" in x for x in texts)
    assert any("Rejected" in x and "prompt is empty" in x and "row 3" in x for x in texts)
    page.locator("#query").fill("finite")
    expect(page.locator(".failure")).to_have_count(1)


def test_a_mesh_is_shown_in_its_colours(home: str, open_page: OpenPage) -> None:
    page = open_page(home, viewport=SMALL_WINDOW)
    open_asset(page, PLAIN[0])
    assert 0.05 < share(canvas(page), COLOUR) < 0.6


def test_a_mesh_turns_and_comes_closer(address: str, open_page: OpenPage) -> None:
    page = open_page(address, viewport=SMALL_WINDOW)
    open_asset(page, PLAIN[0])
    page.locator("#canvas").focus()
    page.keyboard.press("0")
    first = canvas(page)
    page.keyboard.press("ArrowRight")
    turned = canvas(page)
    assert np.abs(turned - first).max() > 50
    page.keyboard.press("+")
    assert share(canvas(page), COLOUR) > 1.1 * share(turned, COLOUR)
    page.keyboard.press("0")
    assert np.array_equal(canvas(page), first)
    box: Any = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 80, box["y"] + box["height"] / 3)
    page.mouse.up()
    assert np.abs(canvas(page) - first).max() > 50
    page.mouse.wheel(0, -300)
    page.locator("#reset").click()
    page.locator("[data-mode='2']").click()
    clay = canvas(page)
    assert share(clay, COLOUR, within=20) == 0.0
    assert 0.05 < (np.abs(clay - first).max(axis=-1) > 30).mean() < 0.6


def test_a_texture_is_shown_the_right_way_up(home: str, open_page: OpenPage) -> None:
    page = open_page(home, viewport=SMALL_WINDOW)
    open_asset(page, PLAIN[1])
    picture = canvas(page)
    red, blue = ((np.abs(picture - c).max(axis=-1) <= 3) for c in (RED, BLUE))
    assert min(red.mean(), blue.mean()) > 0.03
    assert red.nonzero()[0].mean() < blue.nonzero()[0].mean() - 20


def test_a_mesh_that_turns_by_itself_stops_when_touched(address: str, open_page: OpenPage) -> None:
    page = open_page(address, reduced_motion="no-preference", viewport=SMALL_WINDOW)
    open_asset(page, PLAIN[0])
    expect(page.locator("#turning")).to_have_attribute("aria-pressed", "true")
    first = canvas(page)
    page.wait_for_timeout(200)
    assert np.abs(canvas(page) - first).max() > 50
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#turning")).to_have_attribute("aria-pressed", "false")
    assert np.array_equal(canvas(page), canvas(page))


def test_a_mesh_can_be_saved(address: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(address)
    open_asset(page, PLAIN[0])
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "mesh.glb")
    assert (tmp_path / "mesh.glb").read_bytes() == cube()


def test_an_asset_without_a_mesh_says_so(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.locator(".card a", has_text=PLAIN[2]).click()
    expect(page.locator("#stage-note")).to_contain_text("has no mesh")
    expect(page.locator("#poster")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_selector(".stage.ready")
    expect(page.locator("#detail-prompt")).to_have_text(PLAIN[1])


def test_hostile_prompts_stay_text(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    assert set(HOSTILE) <= set(prompts(page))
    for number in range(len(HOSTILE)):
        page.locator(".card a").nth(number).click()
        assert page.locator("#detail-prompt").text_content() == HOSTILE[::-1][number]
        page.keyboard.press("Escape")
    page.locator(".choice", has_text=HOSTILE[0]).first.locator("input").check()
    assert HOSTILE[0] in (page.locator(".chip").text_content() or "")
    page.locator("#show-unmade").click()
    assert page.evaluate("window.owned") is None
    assert page.locator("script:not([src])").count() == 0
    assert page.locator("img[onerror]").count() == 0
    assert page.evaluate("Object.prototype.polluted") is None


def test_a_text_of_another_direction_turns_nothing_around_it(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(address)
    card = page.locator(".card", has_text=HOSTILE[6])
    assert card.locator(".prompt").evaluate("x => getComputedStyle(x).direction") == "rtl"
    assert card.evaluate("x => getComputedStyle(x).direction") == "ltr"
    page.locator(".card a", has_text="turned round").click()
    assert page.locator("#panel").evaluate("x => getComputedStyle(x).direction") == "ltr"


def test_the_keyboard_reaches_everything(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.locator(".card a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector(".stage.ready")
    expect(page.locator("#detail-prompt")).to_have_text(PLAIN[0])
    assert page.evaluate("document.querySelector('#detail').contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).not_to_be_visible()
    focused = page.evaluate("document.activeElement.querySelector('.prompt').textContent")
    assert focused == PLAIN[0]


def test_nothing_sticks_out_on_any_screen(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    fits = "() => document.documentElement.scrollWidth <= innerWidth"
    for width in (340, 820, 1600):
        page.set_viewport_size({"width": width, "height": 600})
        page.wait_for_function(fits)
        page.locator("#show-unmade").click()
        page.wait_for_function(fits)
        page.locator("#show-assets").click()
        open_asset(page, "猫")
        assert page.evaluate("document.querySelector('#panel').scrollWidth <= innerWidth")
        page.keyboard.press("Escape")


def test_it_is_light_by_day_and_dark_by_night(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (page.evaluate(lightness) < 128) == (scheme == "dark")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 10,000 assets, which share their pictures."""
    root = tmp_path_factory.mktemp("many")
    task, provenance = sample_task(1), sample_provenance()
    whole = asset_table(task, SMALL, provenance, CARRIED)
    one = whole.select(scalar_names(whole.schema)).replace_schema_metadata(None)
    table = pa.concat_tables([one] * NUM_MANY).combine_chunks()
    ids = [f"{k % 256:02x}{k:030x}" for k in range(NUM_MANY)]
    changed = {
        "asset_id": ids,
        "prompt": [f"a red ball on a blue cube, number {k}" for k in range(NUM_MANY)],
        "collection": [f"collection {k % 7}" for k in range(NUM_MANY)],
        "gpu_seconds": [20 + k % 97 / 10 for k in range(NUM_MANY)],
    }
    for name, values in changed.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    (root / "shared.webp").write_bytes(SMALL.turntable)
    (root / "shared.png").write_bytes(SMALL.thumb)
    for asset_id in ids:
        directory = root / f"media/x{asset_id[:2]}"
        directory.mkdir(parents=True, exist_ok=True)
        for suffix in ("webp", "png"):
            os.link(root / f"shared.{suffix}", directory / f"{asset_id}.{suffix}")
    shown = Rows(table=table, order=np.arange(NUM_MANY))
    nothing = Unmade(quarantined=[], num_quarantined=0, rejected=[], num_rejected=0)
    head = {
        "name": "many",
        "committed": NUM_MANY,
        "quarantined": 0,
        "rejected": 0,
        "gpu_seconds": 1.0,
        "recipes": ["smoke"],
        "models": ["primitives"],
    }
    building.write_page(pages.open_site(str(root)), shown, {"collection"}, nothing, head)
    media.write_script(pages.open_site(str(root)), ids[-1], cube())
    return root


def test_ten_thousand_assets_are_seen_at_once(
    many: Path, served: Callable[[Path], str], open_page: OpenPage
) -> None:
    for home in (served(many), f"file://{many}/index.html"):
        page = open_page(home)
        paints: dict[str, float] = page.evaluate(
            "Object.fromEntries(performance.getEntries().filter(x => x.entryType === 'paint' "
            "|| x.entryType === 'mark').map(x => [x.name, x.startTime]))"
        )
        print({name: round(ms) for name, ms in paints.items()}, home)
        assert 0 < paints["first-contentful-paint"] < FIRST_PAINT_MS
        assert 0 < paints["shown"] < FIRST_PAINT_MS
        expect(page.locator("#found")).to_have_text("10,000 assets")
        assert page.locator(".card").count() < 100


def test_ten_thousand_assets_are_searched_and_scrolled(many: Path, open_page: OpenPage) -> None:
    page = open_page(f"file://{many}/index.html")
    page.locator("#query").fill("number 9999")
    expect(page.locator("#found")).to_have_text("1 of 10,000 assets")
    page.locator("#query").fill("")
    page.locator(".choice", has_text="collection 3").locator("input").check()
    expect(page.locator("#found")).to_have_text("1,429 of 10,000 assets")
    page.locator(".chip").click()
    expect(page.locator("#found")).to_have_text("10,000 assets")
    page.locator(".card a").first.focus()
    page.keyboard.press("End")
    last = page.locator(".card a", has_text="number 9999")
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    assert page.locator(".card").count() < 100
    page.keyboard.press("Enter")
    page.wait_for_selector(".stage.ready")
    expect(page.locator("#place")).to_have_text("10,000 of 10,000")
