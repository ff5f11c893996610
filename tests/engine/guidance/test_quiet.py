"""Loading says nothing on the screen, and what is worth saying is still said."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.guidance.denoiser import load_unet
from engine.guidance.loading import load_guidance
from engine.guidance.quiet import no_bars
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline

DIFFUSERS = "diffusers.models.modeling_utils"


class Heard(logging.Handler):
    """Keeps what one library says; it hands nothing on to the root, where pytest listens."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger(DIFFUSERS)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("space", ["pixel", "latent"])
def test_loading_says_nothing(
    space: str,
    tiny_weights: Path,
    tmp_path: Path,
    heard: Heard,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tiny_weights if space == "pixel" else write_tiny_latent_pipeline(tmp_path / "latent")
    capfd.readouterr()
    load_guidance(path, device="cpu", dtype=torch.bfloat16)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert heard.messages == []


def test_parts_that_should_stay_in_float32_are_named(
    tiny_weights: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet: Any = load_unet(tiny_weights, torch.device("cpu"), torch.float32)
    unet.to(torch.bfloat16)
    assert heard.messages == []
    monkeypatch.setattr(UNet2DConditionModel, "_keep_in_fp32_modules", ["time_embedding"])
    unet.to(torch.bfloat16)
    (message,) = heard.messages
    assert "kept in float32: ['time_embedding']" in message


@pytest.mark.parametrize("library", [diffusers_logging, transformers_logging])
@pytest.mark.parametrize("is_on", [True, False])
def test_bars_come_back_where_there_were_any(library: Any, is_on: bool) -> None:
    was_on = library.is_progress_bar_enabled()
    switch = {True: library.enable_progress_bar, False: library.disable_progress_bar}
    switch[is_on]()
    try:
        seen = []
        with suppress(KeyError), no_bars():
            seen.append(library.is_progress_bar_enabled())
            raise KeyError
        assert seen == [False]
        assert library.is_progress_bar_enabled() == is_on
    finally:
        switch[was_on]()
