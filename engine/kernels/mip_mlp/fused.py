"""`engine.kernels.mip_mlp` in Triton: a tile of points goes through all layers on the chip.

Axes: S scenes, P points, B blocks, H units, D outputs. The mathematics is in README.md, and so are
the names of what is kept of each layer: h (of the first z, before its silu) and a on the way there;
g_h, g_s and g_n on the way back to x; v and v_s along u; y_a and y back from q.
"""

# pyright: reportIncompatibleMethodOverride=false, reportCallIssue=false

from collections.abc import Iterable
from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.mip_mlp.backward import mip_mlp_along_kernel, mip_mlp_bwd_kernel
from engine.kernels.mip_mlp.forward import mip_mlp_fwd_kernel
from engine.kernels.mip_mlp.products import mip_mlp_blocks_kernel, mip_mlp_in_kernel
from engine.kernels.mip_mlp.weights import Weights
from engine.kernels.tiles import side

FORWARD = {"BP": 32, "num_warps": 4, "num_stages": 2}
ALONG = {"BP": 32, "num_warps": 4, "num_stages": 2}
BACKWARD = {"BP": 32, "num_warps": 4, "num_stages": 2}
PRODUCTS = {"BP": 32, "num_warps": 4, "num_stages": 2}
ENTRY = {"BP": 32, "num_warps": 4, "num_stages": 1}
"""Points of a tile, warps of a program, and how many stages of loads there are: the fastest of some
on an H200. Without spills there is no room for more points."""
_BLOCK_PROGRAMS, _IN_PROGRAMS = 52, 256
"""Programs that share a scene's points, of a block and at its entry. Not the chip's number, nor the
gang's: the order of a scene's sums depends on nothing else."""


def mip_mlp(
    weights: Weights, x: Float[Tensor, "S P 3"], kept: Float[Tensor, "S L"], precision: torch.dtype
) -> tuple[Float[Tensor, "S P D"], Float[Tensor, "S P 3"]]:
    """See the package."""
    # Before the function, whose gradient would not find its way from copies to what they are of.
    own = (w.contiguous() for w in weights)
    return _MipMlp.apply(precision, x.detach().contiguous(), kept.detach().contiguous(), *own)


class _MipMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, precision: torch.dtype, x: Tensor, kept: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        w = _for_products(Weights(*weights), precision)
        num_blocks, width = w.w1.shape[1:3]
        raw = torch.empty(*x.shape[:2], w.w_out.shape[-1], device=x.device)
        slope = torch.empty_like(x)
        h, *others = (
            x.new_empty(count, *x.shape[:2], width, dtype=precision)
            for count in (num_blocks + 1, *(num_blocks,) * 4)
        )
        grid = _grid(x, FORWARD)
        if x.numel():
            mip_mlp_fwd_kernel[grid](
                x, kept, *w, raw, slope, h, *others, x.shape[1], **_sizes(w, FORWARD)
            )
        ctx.save_for_backward(x, kept, *w, h, *others)
        return raw, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_raw: Tensor, g_slope: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *rest = ctx.saved_tensors
        w, kept_layers = Weights(*rest[:10]), rest[10:]
        if not x.numel():
            return None, None, None, *(torch.zeros_like(v, dtype=torch.float32) for v in w)
        gradients = _backward(x, kept, w, kept_layers, g_raw.contiguous(), g_slope.contiguous())
        return None, None, None, *gradients


def _backward(
    x: Tensor, kept: Tensor, w: Weights, layers: list[Tensor], g_raw: Tensor, u: Tensor
) -> Weights:
    h, a, g_s, g_n, g_h = layers
    (num_scenes, num_points, _), num_blocks, width = x.shape, *w.w1.shape[1:3]
    v, v_s, y_a, y = (torch.empty_like(like) for like in (h, a, a, h))
    # Four sums over the points of a tile to a block's biases and the norm before it; then one to
    # the first bias, one to each column of w_out, and the slope's to the first of these.
    sums = [
        torch.empty(num_scenes, _grid(x, setting)[0], count, width, device=x.device)
        for setting, count in (
            (ALONG, num_blocks),
            (BACKWARD, 4 * num_blocks + 2 + w.w_out.shape[-1]),
        )
    ]
    mip_mlp_along_kernel[_grid(x, ALONG)](
        *(x, kept, w.w_in, w.w1, w.w2, w.gain, h, a, g_s, g_n, u, v, v_s, y_a, y, sums[0]),
        num_points,
        **_sizes(w, ALONG, without=("D",)),
    )
    mip_mlp_bwd_kernel[_grid(x, BACKWARD)](
        *(w.w1, w.w2, w.gain, w.w_out, h, a, g_raw, v, y_a, y, sums[1]),
        num_points,
        **_sizes(w, BACKWARD, without=("L", "BF")),
    )
    num_programs = min(_IN_PROGRAMS, _grid(x, ENTRY)[0])
    ins = torch.empty(num_scenes, num_programs, *w.w_in.shape[1:], device=x.device)
    mip_mlp_in_kernel[num_programs, num_scenes](
        *(x, kept, h, g_n, u, y, ins, num_points),
        **_sizes(w, ENTRY, without=("D", "NUM_BLOCKS")),
    )
    num_programs, blocks = min(_BLOCK_PROGRAMS, _grid(x, PRODUCTS)[0]), []
    for is_second in (False, True):
        shares = torch.empty(num_scenes, num_blocks, num_programs, width, width, device=x.device)
        mip_mlp_blocks_kernel[num_programs, num_blocks, num_scenes](
            *(w.gain, w.shift, h, a, g_s, g_h, v, v_s, y_a, y, shares, num_points),
            IS_SECOND=is_second,
            **_sizes(w, PRODUCTS, without=("L", "BF", "D")),
        )
        blocks.append(shares.sum(dim=2))
    to_gain, others = (part.sum(dim=1) for part in sums)
    sizes = [4 * num_blocks, 1, w.w_out.shape[-1], 1]
    of_blocks, b_in, w_out, of_slope = others.split(sizes, dim=1)
    w_out[:, :1] += of_slope
    of_blocks = of_blocks.unflatten(1, (num_blocks, 4))[:, :, :, None]
    return Weights(
        w_in=ins.sum(dim=1),
        b_in=b_in,
        w1=blocks[0],
        b1=of_blocks[:, :, 1],
        w2=blocks[1],
        b2=of_blocks[:, :, 0],
        gain=of_blocks[:, 1:, 2] + to_gain[:, 1:, None],
        shift=of_blocks[:, 1:, 3],
        w_out=w_out.mT.contiguous(),
        b_out=g_raw.sum(dim=1, keepdim=True),
    )


def _for_products(w: Weights, precision: torch.dtype) -> Weights:
    """Matrices in the products' precision; norms that can be read where there are none."""
    turned = {name: getattr(w, name).to(precision) for name in ("w_in", "w1", "w2", "w_out")}
    if w.gain.shape[1] == 0:
        turned |= {name: torch.zeros_like(w.b_in)[:, None] for name in ("gain", "shift")}
    return w._replace(**turned)


def _grid(x: Tensor, setting: dict[str, int]) -> tuple[int, int]:
    return int(triton.cdiv(x.shape[1], setting["BP"])), x.shape[0]


def _sizes(w: Weights, setting: dict[str, int], without: Iterable[str] = ()) -> dict[str, int]:
    _, num_features, width = w.w_in.shape
    sizes = {
        "L": num_features // 6,
        "H": width,
        "D": w.w_out.shape[-1],
        "NUM_BLOCKS": w.w1.shape[1],
        "BF": side(num_features),
        "BH": side(width),
    }
    return {name: size for name, size in sizes.items() if name not in without} | setting
