from typing import Any

import pytest

from engine.bench import flops, shapes


@pytest.mark.parametrize(
    ("config", "expected"), [(shapes.IF_UNET, 5.76e12), (shapes.SD_UNET, 1.61e12)], ids=["if", "sd"]
)
def test_a_guided_pair_costs_what_was_counted_elsewhere(
    config: dict[str, Any], expected: float
) -> None:
    unet = shapes.meta_unet(config)
    assert 2 * flops.unet_flops(unet.config) == pytest.approx(expected, rel=0.01)


def test_the_encoder_s_way_and_back() -> None:
    assert flops.encoder_flops(shapes.SD_VAE, 512) == pytest.approx(2.27e12, rel=0.05)
