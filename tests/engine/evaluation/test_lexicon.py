"""Scores are mean logits over the views."""

import torch

from engine.evaluation.lexicon import Encoder, Lexicon, geometry_places, spec_places
from engine.primitives.captions import caption, colourless_caption
from engine.primitives.grammar import geometries, specs
from tests.engine.evaluation.oracles import Oracle


def test_scores_are_mean_logits(lexicon: Lexicon) -> None:
    oracle = Oracle()
    assert isinstance(oracle, Encoder)
    pictures = torch.rand(2, 3, 3, 64, 64)
    coloured, plain = lexicon.scores(pictures), lexicon.geometry_scores(pictures)
    assert coloured.shape == (2, len(specs()))
    for subject, spec, geometry in (
        (0, specs()[70], geometries()[30]),
        (1, specs()[9000], geometries()[2]),
    ):
        logits = [
            10.0 * oracle.embed_pictures(view[None])[0] @ oracle.embed_captions([text])[0]
            for text in (caption(spec), colourless_caption(geometry))
            for view in pictures[subject]
        ]
        torch.testing.assert_close(coloured[subject, spec_places()[spec]], sum(logits[:3]) / 3)
        torch.testing.assert_close(plain[subject, geometry_places()[geometry]], sum(logits[3:]) / 3)
