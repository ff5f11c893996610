import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.export import View
from pipeline.dataset.opacity import mean_opacity
from tests.pipeline.sample_assets import sample_view


def view(width: int, height: int, alphas: list[int]) -> View:
    picture = Image.new("RGBA", (width, height), (9, 8, 7, 0))
    for k, alpha in enumerate(alphas):
        picture.putpixel((k % width, k // width), (9, 8, 7, alpha))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return replace(sample_view(0.0), image=buffer.getvalue(), w=width, h=height)


def test_nothing_a_quarter_and_all() -> None:
    nothing, half, everything = view(4, 2, []), view(4, 2, [255] * 4), view(4, 2, [255] * 8)
    assert mean_opacity([nothing]) == 0.0
    assert mean_opacity([nothing, half]) == 0.25
    assert mean_opacity([everything]) == 1.0


@given(st.lists(st.lists(st.integers(0, 255), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_mean_of_all_pixels(pictures: list[list[int]]) -> None:
    values = [alpha for alphas in pictures for alpha in alphas]
    expected = sum(alpha / 255 for alpha in values) / len(values)
    found = mean_opacity([view(3, 2, alphas) for alphas in pictures])
    assert found == pytest.approx(expected, abs=1e-12)
