"""An image encoder's convolutions, whose weights never change and whose inputs nobody needs again.

A convolution y = w * x + b has the gradient w^T * dL/dy by x, which knows x by its size alone.
Torch's own keeps x all the same, even where its weights are frozen: half of what an encoder keeps.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


class FrozenConv(nn.Conv2d):
    """A convolution that keeps no input, for a gradient by its input alone."""

    def __init__(self, old: nn.Conv2d) -> None:
        assert old.padding_mode == "zeros"
        assert not isinstance(old.padding, str)
        # On the meta device, where it takes no memory before the old one's parameters come.
        super().__init__(
            old.in_channels,
            old.out_channels,
            cast(tuple[int, int], old.kernel_size),
            cast(tuple[int, int], old.stride),
            cast(tuple[int, int], old.padding),
            cast(tuple[int, int], old.dilation),
            old.groups,
            bias=False,
            device="meta",
        )
        self.weight, self.bias, self.training = old.weight, old.bias, old.training

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D P Q"]:
        """As the convolution that it stands for."""
        assert not any(p.requires_grad for p in self.parameters())
        assert input.ndim == 4
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return cast(Tensor, _Convolution.apply(input, self.weight, self.bias, settings))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, settings: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(w)
        ctx.settings, ctx.sizes = settings, x.shape[2:]
        return conv2d(x, w, b, *settings)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        (g,), (w,) = slopes, ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        # Rows and columns that a stride left over at the end have a gradient, too: of zero.
        output_padding = [
            n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, k, s, p, d in zip(
                ctx.sizes, g.shape[2:], w.shape[2:], stride, padding, dilation, strict=True
            )
        ]
        slope = conv_transpose2d(g, w, None, stride, padding, output_padding, groups, dilation)
        return slope, None, None, None


def freeze_convolutions(network: nn.Module) -> None:
    """Has all convolutions below `network` keep no inputs. Once more changes nothing.

    Their weights are frozen by whoever calls it, and no autocast rounds what they are given.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Conv2d:
                setattr(module, name, FrozenConv(child))
