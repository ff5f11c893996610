"""DreamFusion's field: an integrated positional encoding and a residual MLP.

arXiv 2209.14988, appendix A.2. A point stands for a Gaussian around it, of covariance lambda^2 I,
and its encoding is the Gaussian's mean (mip-NeRF, arXiv 2103.13415, eq. 14). With lambda annealed
the network sees the coarse first. Coordinates are scene units, not parts of the bound.

Parameters, with L frequencies, B blocks and H units: `w_in` S 6L H, `b_in` S 1 H; of the blocks
`w1` `w2` S B H H and `b1` `b2` S B 1 H; of the norms between them `gain` `shift` S (B-1) 1 H;
`w_out` S H 4, `b_out` S 1 4 with outputs (raw density, 3 raw colours).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.fields import MipMlpConfig
from engine.fields.field import (
    GREATEST_RAW,
    Parameters,
    Samples,
    bounded_exp,
    gaussian_blob,
    he_uniform,
    outward,
)
from engine.fields.normals import with_normals
from engine.kernels.mip_mlp import Weights, mip_mlp, reference


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

        if self.config.normals == "analytic":
            return self._with_slope(parameters, x.detach(), part)

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
        features = encode(x, blur(c, part), c.num_frequencies)
        raw = reference.network(_weights(parameters), features)
        return self._samples(raw, gaussian_blob(x, c.blob_density, c.blob_radius))

    def _samples(self, raw: Float[Tensor, "S P 4"], ball: Float[Tensor, "S P"]) -> Samples:
        sigma = bounded_exp(raw[..., 0] + self.config.density_bias + ball)
        return Samples(sigma, torch.sigmoid(raw[..., 1:]), None)

    def _with_slope(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Samples:
        """With grad sigma = sigma grad (raw + blob), and 0 where sigma stays where it is."""
        c = self.config
        left = kept(blur(c, part), c.num_frequencies)
        raw, slope = mip_mlp(_weights(parameters), x, left)
        ball = gaussian_blob(x, c.blob_density, c.blob_radius)
        samples = self._samples(raw, ball)
        is_moving = raw[..., 0] + c.density_bias + ball <= GREATEST_RAW
        gradient = slope - ball[..., None] * x / c.blob_radius**2
        gradient = gradient * (samples.sigma * is_moving)[..., None]
        return replace(samples, normal=outward(gradient))


def _weights(parameters: Parameters) -> Weights:
    return Weights(**{name: parameters[name] for name in Weights._fields})


def blur(config: MipMlpConfig, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """lambda at this part of the run: linear until `blur_until`, constant from there on."""
    first, last = config.blur
    return first + (last - first) * (part / config.blur_until).clamp(max=1.0)


def kept(blur: Float[Tensor, "S"], num_frequencies: int) -> Float[Tensor, "S L"]:
    """What the blur leaves of each frequency: the mean of sin(a y) over y from N(x, blur^2 I) is
    sin(a x) exp(-a^2 blur^2 / 2), and so for cos."""
    scale = (2.0 ** torch.arange(num_frequencies, device=blur.device)).to(blur.dtype)
    return torch.exp(-0.5 * (scale * blur[:, None]).square())


def encode(
    x: Float[Tensor, "S P 3"], blur: Float[Tensor, "S"], num_frequencies: int
) -> Float[Tensor, "S P F"]:
    """Mean over y from N(x, blur^2 I) of sin and cos of 2^l y; F = 6 num_frequencies."""
    return reference.encode(x, kept(blur, num_frequencies))
