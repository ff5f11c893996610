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
    forward, gradient = flops.encoder_flops(shapes.SD_VAE, 512)
    assert forward + gradient == pytest.approx(2.27e12, rel=0.05)
    # No weight has a gradient: a convolution's way back is as long, attention's twice.
    attention = 2 * 2 * 512 * 4096**2
    assert gradient - forward == pytest.approx(attention, rel=0.01)
    network = shapes.meta_vae(shapes.SD_VAE)
    assert flops.encoder_flops(network.config, 512) == (forward, gradient)
