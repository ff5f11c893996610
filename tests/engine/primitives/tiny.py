"""A teacher small enough for unit tests: 16 x 16 pixels, about 110 thousand weights."""

from engine.primitives.teacher import TeacherConfig

SIZES = TeacherConfig(
    size=16,
    channels=(8, 16, 16),
    head_width=8,
    group_norm_groups=4,
    text_width=16,
    text_layers=1,
    text_heads=2,
    text_hidden=24,
)
