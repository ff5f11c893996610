"""An image encoder's group norms by kernels that leave channels side by side.

A compiler's own group norm wants the channels of a picture one after the other, convolutions want
them side by side, and between the two lie copies of everything.
"""

from typing import Any

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from engine.kernels.group_norm import group_norm


class FusedNorm(nn.GroupNorm):
    """A group norm with the SiLU behind it, and the offset of the convolution in front of it."""

    def __init__(
        self, old: nn.GroupNorm, *, has_silu: bool, offset: nn.Parameter | None = None
    ) -> None:
        super().__init__(old.num_groups, old.num_channels, old.eps, device=old.weight.device)
        self.weight, self.bias = old.weight, old.bias
        self.offset = offset
        self.has_silu = has_silu

    def forward(self, input: Tensor) -> Tensor:
        """N C, and sizes, as the norm that it stands for."""
        return group_norm(
            input,
            self.weight,
            self.bias,
            self.offset,
            num_groups=self.num_groups,
            eps=self.eps,
            has_silu=self.has_silu,
        )


def fuse_norms(encoder: Any) -> None:
    """Has an image encoder's norms take over what lies around them. Once more changes nothing."""
    for module in encoder.modules():
        if isinstance(module, ResnetBlock2D) and type(module.nonlinearity) is nn.SiLU:
            _fuse_block(module)
        elif isinstance(module, Attention) and type(module.group_norm) is nn.GroupNorm:
            module.group_norm = FusedNorm(module.group_norm, has_silu=False)
    if type(encoder.conv_act) is nn.SiLU:
        encoder.conv_norm_out = FusedNorm(encoder.conv_norm_out, has_silu=True)
        encoder.conv_act = nn.Identity()


def _fuse_block(block: Any) -> None:
    # In an image encoder nothing but its two norms is ever followed by the block's SiLU, and the
    # second norm follows the first convolution at once: there is no time to embed.
    assert block.time_emb_proj is None
    block.norm1 = FusedNorm(block.norm1, has_silu=True)
    block.norm2 = FusedNorm(block.norm2, has_silu=True, offset=block.conv1.bias)
    block.conv1.bias = None
    block.nonlinearity = nn.Identity()
