import pytest
import torch

from engine.evaluation.judge_networks import (
    JUDGES,
    MAX_SCALE,
    AttentiveCaptions,
    DualEncoder,
    JudgeConfig,
    PatchPictures,
    WindowedCaptions,
)
from engine.primitives.captions import vocabulary
from tests.engine.evaluation.judge_fakes import CONVOLUTIONAL, SIZE, SMALL, TRANSFORMER

NUM_WORDS = 30
small = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)


def test_the_published_judges_fit_their_budget_and_differ() -> None:
    networks = [DualEncoder(config, 1 + len(vocabulary())) for config in JUDGES.values()]
    weights = sum(p.numel() for network in networks for p in network.parameters())
    # Half precision; the room left is for headers and configs.
    assert 2 * weights < 11.9e6
    a, b = networks
    assert type(a.pictures) is not type(b.pictures)
    assert type(a.captions) is not type(b.captions)
    for network in networks:
        assert network.embed_pictures(torch.rand(1, 3, 64, 64)).shape == (1, 256)


@small
def test_every_weight_learns(config: JudgeConfig) -> None:
    network = DualEncoder(config, NUM_WORDS)
    p = network.embed_pictures(torch.rand(4, 3, SIZE, SIZE))
    c = network.embed_captions(torch.randint(1, NUM_WORDS, (4, 12)))
    (network.scale * p @ c.T).softmax(1).diagonal().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        # A bias ahead of the unit length of a norm or of a softmax may have none.
        if weight.ndim > 1:
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("words", [WindowedCaptions, AttentiveCaptions])
def test_padding_says_nothing_and_order_does(words: type) -> None:
    captions = words(TRANSFORMER, NUM_WORDS).eval()
    red_on_blue = torch.tensor([[1, 2, 3, 4, 5, 6]])
    padded = torch.nn.functional.pad(red_on_blue, (0, 5))
    exchanged = red_on_blue[:, [0, 4, 2, 3, 1, 5]]
    with torch.no_grad():
        here = captions(red_on_blue)
        torch.testing.assert_close(captions(padded), here, atol=1e-5, rtol=1e-4)
        assert (captions(exchanged) - here).abs().max() > 1e-2


def test_heads_start_out_looking_to_their_side() -> None:
    apart = AttentiveCaptions(TRANSFORMER, NUM_WORDS).apart
    middle = apart.shape[1] // 2
    assert apart.argmax(1).tolist() == [middle - 1]
    wide = JudgeConfig(
        architecture="transformer",
        picture_width=32,
        picture_depth=1,
        caption_width=64,
        caption_depth=1,
    )
    assert AttentiveCaptions(wide, 5).apart.argmax(1).tolist() == [middle - 1, middle + 1]


def test_the_bias_is_that_of_the_distance_between_words() -> None:
    captions = AttentiveCaptions(TRANSFORMER, NUM_WORDS)
    seen: list[torch.Tensor] = []
    captions.layers[0].register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    captions(torch.tensor([[4, 5, 0]]))
    apart, bias = captions.apart[0].tolist(), seen[0][0, 0].tolist()
    for asks in range(3):
        for asked in range(3):
            expected = apart[len(apart) // 2 + asked - asks] if asked < 2 else -1e4
            assert bias[asks][asked] == pytest.approx(expected)


def test_patches_know_their_place() -> None:
    pictures = PatchPictures(TRANSFORMER).eval()
    x = torch.zeros(1, 3, SIZE, SIZE)
    x[..., :8, :] = 1.0
    with torch.no_grad():
        assert (pictures(x) - pictures(x.flip(2))).abs().max() > 1e-3


def test_the_scale_is_bounded() -> None:
    network = DualEncoder(CONVOLUTIONAL, NUM_WORDS)
    assert network.scale.item() == pytest.approx(14.0)
    with torch.no_grad():
        network.log_scale.fill_(9.0)
    assert network.scale.item() == MAX_SCALE


@pytest.mark.parametrize("changes", [{"size": 20}, {"picture_width": 20}, {"architecture": "x"}])
def test_impossible_sizes_are_refused(changes: dict) -> None:
    sizes = {
        "architecture": "transformer",
        "picture_width": 32,
        "picture_depth": 1,
        "caption_width": 32,
        "caption_depth": 1,
    }
    if "architecture" in changes:
        with pytest.raises(Exception, match="architecture"):
            JudgeConfig(**sizes | changes)
    else:
        with pytest.raises(ValueError, match="multiples of 8"):
            JudgeConfig(**sizes | changes)
