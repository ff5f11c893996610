"""DreamFusion's field: an integrated positional encoding and a residual MLP.

arXiv 2209.14988, appendix A.2. A point stands for a Gaussian around it, of covariance lambda^2 I,
and its encoding is the Gaussian's mean (mip-NeRF, arXiv 2103.13415, eq. 14). With lambda annealed
the network sees the coarse first. Coordinates are scene units, not parts of the bound.

Parameters, with L frequencies, B blocks and H units: `w_in` S 6L H, `b_in` S 1 H; of the blocks
`w1` `w2` S B H H and `b1` `b2` S B 1 H; of the norms between them `gain` `shift` S (B-1) 1 H;
`w_out` S H 4, `b_out` S 1 4 with outputs (raw density, 3 raw colours).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.fields import MipMlpConfig
from engine.fields.field import Parameters, Samples, bounded_exp, gaussian_blob, he_uniform
from engine.fields.normals import with_normals


@dataclass(frozen=True)
class MipMlp:
    """sigma = exp(raw + bias + blob), albedo = sigmoid(raw colour)."""

    config: MipMlpConfig

    @property
    def bound(self) -> float:
        """Radius of the scene."""
        return self.config.bound

    def initial(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Hidden weights from He's uniform, biases and output weights at zero: the blob alone."""
        c = self.config
        blank = torch.zeros(len(seed), 1, 1, 1, device=seed.device)
        biases = blank.repeat(1, c.num_blocks, 1, c.width)
        return {
            "w_in": he_uniform(seed, 0, (6 * c.num_frequencies, c.width)),
            "b_in": blank[:, 0].repeat(1, 1, c.width),
            "w1": he_uniform(seed, 1, (c.num_blocks, c.width, c.width)),
            "b1": biases,
            "w2": he_uniform(seed, 2, (c.num_blocks, c.width, c.width)),
            "b2": biases.clone(),
            "gain": blank.repeat(1, c.num_blocks - 1, 1, c.width) + 1.0,
            "shift": blank.repeat(1, c.num_blocks - 1, 1, c.width),
            "w_out": blank[:, 0].repeat(1, c.width, 4),
            "b_out": blank[:, 0].repeat(1, 1, 4),
        }

    def density(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P"]:
        """Density alone."""
        return self._evaluate(parameters, x, part).sigma

    def query(
        self,
        parameters: Parameters,
        x: Float[Tensor, "S P 3"],
        part: Float[Tensor, "S"],
        *,
        with_normal: bool,
    ) -> Samples:
        """Density, albedo and, if asked for, normals that can be trained through."""
        if not with_normal:
            return self._evaluate(parameters, x, part)

        def evaluate(x: Float[Tensor, "S P 3"]) -> Samples:
            return self._evaluate(parameters, x, part)

        return with_normals(evaluate, x, self.config.normals, self.config.normal_step)

    def total_variation(self, parameters: Parameters) -> Float[Tensor, "S"]:
        """0: the network has no neighbours."""
        weights = parameters["w_in"]
        return torch.zeros(weights.shape[0], device=weights.device)

    def _evaluate(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Samples:
        c = self.config
        raw = self._network(parameters, encode(x, blur(c, part), c.num_frequencies))
        bias = c.density_bias + gaussian_blob(x, c.blob_density, c.blob_radius)
        return Samples(bounded_exp(raw[..., 0] + bias), torch.sigmoid(raw[..., 1:]), None)

    def _network(self, p: Parameters, features: Float[Tensor, "S P F"]) -> Float[Tensor, "S P 4"]:
        """Blocks h + W2 silu(W1 h), with a layer norm between one and the next."""
        h = F.silu(torch.baddbmm(p["b_in"], features, p["w_in"]))
        for k in range(self.config.num_blocks):
            if k > 0:
                h = F.layer_norm(h, h.shape[-1:]) * p["gain"][:, k - 1] + p["shift"][:, k - 1]
            inner = F.silu(torch.baddbmm(p["b1"][:, k], h, p["w1"][:, k]))
            h = h + torch.baddbmm(p["b2"][:, k], inner, p["w2"][:, k])
        return torch.baddbmm(p["b_out"], F.silu(h), p["w_out"])


def blur(config: MipMlpConfig, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """lambda at this part of the run: linear until `blur_until`, constant from there on."""
    first, last = config.blur
    return first + (last - first) * (part / config.blur_until).clamp(max=1.0)


def encode(
    x: Float[Tensor, "S P 3"], blur: Float[Tensor, "S"], num_frequencies: int
) -> Float[Tensor, "S P F"]:
    """Mean over y from N(x, blur^2 I) of sin and cos of 2^l y.

    E sin(a y) = sin(a x) exp(-a^2 blur^2 / 2), and so for cos; F = 6 num_frequencies.
    """
    scale = (2.0 ** torch.arange(num_frequencies, device=x.device)).to(x.dtype)
    kept = torch.exp(-0.5 * (scale * blur[:, None]).square())[:, None, :, None]
    phase = x[:, :, None] * scale[:, None]
    return torch.cat([(phase.sin() * kept).flatten(2), (phase.cos() * kept).flatten(2)], dim=-1)
