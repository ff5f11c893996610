"""Single solids, an arch, and things that grow, melt or are eaten."""

from collections.abc import Callable

from engine.primitives.blocks import BLOCKS, Block
from engine.primitives.shape import Proportions, Slots
from engine.primitives.solids import (
    Points,
    box,
    common,
    cone,
    cylinder,
    ellipsoid,
    limb,
    sphere,
    union,
)


def _alone(block: Callable[[Proportions], Block]) -> Callable[[Points, Proportions], Slots]:
    """A block as an object of one piece."""
    return lambda p, u: (block(u).distance(p),)


def arch(p: Points, u: Proportions) -> Slots:
    """A gate one walks through along X."""
    depth, wide, tall, leg = u(0, 0.16, 0.3), u(1, 0.48, 0.58), u(2, 0.42, 0.5), u(3, 0.15, 0.22)
    inner = wide - leg
    spring = 0.12
    outer = union(
        cylinder(p.about(z=spring).along_x(), wide, depth),
        box(p.about(z=0.5 * (spring - tall)), depth, wide, 0.5 * (spring + tall)),
    )
    hole = union(
        cylinder(p.about(z=spring).along_x(), inner, 1.0),
        box(p.about(z=spring - 1.0), 1.0, inner, 1.0),
    )
    return (common(outer, -hole),)


def mushroom(p: Points, u: Proportions) -> Slots:
    """A half-round cap on a stem that widens downwards."""
    rim = u(4, -0.02, 0.12)
    above = p.about(z=rim)
    cap = common(ellipsoid(above, u(0, 0.54, 0.68), u(0, 0.54, 0.68), u(1, 0.42, 0.58)), -above.z)
    foot = u(2, 0.16, 0.28)
    stem = cone(p.about(z=0.5 * (rim - 0.68)), foot, u(3, 0.11, 0.2), 0.5 * (rim + 0.68))
    return cap, stem


def tree(p: Points, u: Proportions) -> Slots:
    """A cloud of leaves on a trunk with one bough."""
    size, height = u(0, 0.36, 0.44), u(1, 0.22, 0.32)
    crown = union(
        sphere(p.about(z=height), size),
        sphere(p.about(x=0.24, y=0.14, z=height - 0.12), 0.7 * size),
        sphere(p.about(x=-0.16, y=0.26, z=height - 0.08), 0.65 * size),
        sphere(p.about(x=-0.06, y=-0.28, z=height - 0.1), 0.72 * size),
    )
    trunk = cone(p.about(z=-0.35), u(2, 0.11, 0.17), u(3, 0.07, 0.11), 0.4)
    return crown, trunk


def snowman(p: Points, u: Proportions) -> Slots:
    """Head and middle, hat, lowest ball; nose and buttons wear the colour of the hat."""
    low, middle, head = u(0, 0.34, 0.4), u(1, 0.24, 0.29), u(2, 0.17, 0.21)
    snow = union(sphere(p.about(z=0.08), middle), sphere(p.about(z=0.4), head))
    hat = union(
        cylinder(p.about(z=0.53), head + u(3, 0.06, 0.1), 0.03),
        cylinder(p.about(z=0.65), u(4, 0.12, 0.16), 0.12),
    )
    nose = cone(p.about(x=head + 0.06, z=0.4).along_x(), 0.06, 0.0, 0.12)
    buttons = union(
        sphere(p.about(x=middle, z=0.1), 0.05), sphere(p.about(x=low - 0.02, z=-0.28), 0.055)
    )
    return snow, union(hat, nose, buttons), sphere(p.about(z=-0.38), low)


def duck(p: Points, u: Proportions) -> Slots:
    """Body, head and raised tail; the eyes wear the colour of the beak."""
    head = u(0, 0.22, 0.27)
    body = ellipsoid(
        p.about(x=-0.04, z=-0.26), u(1, 0.44, 0.52), u(2, 0.32, 0.38), u(3, 0.28, 0.34)
    )
    neck = limb(p, (0.22, 0.0, -0.2), (0.27, 0.0, 0.25), 0.15)
    tail = cone(p.about(x=-0.55, z=-0.06).along_x(), 0.04, 0.18, 0.16)
    skull = sphere(p.about(x=0.27, z=0.32), head)
    beak = box(p.about(x=0.27 + head + 0.06, z=0.27), 0.16, 0.15, 0.07, 0.05)
    both = p.mirrored(y=True).about(x=0.27 + 0.72 * head, y=0.58 * head, z=0.32 + 0.42 * head)
    return union(body, neck, tail, skull), union(beak, sphere(both, 0.06))


def cake(p: Points, u: Proportions) -> Slots:
    """Lower tier, icing on both with a candle, upper tier."""
    wide, narrow, rim = u(0, 0.54, 0.64), u(1, 0.3, 0.4), u(2, -0.1, 0.0)
    low = cylinder(p.about(z=0.5 * (rim - 0.52)), wide, 0.5 * (rim + 0.52))
    high = cylinder(p.about(z=rim + 0.17), narrow, 0.17)
    icing = union(
        cylinder(p.about(z=rim), wide + 0.03, 0.05),
        cylinder(p.about(z=rim + 0.32), narrow + 0.03, 0.055),
        cylinder(p.about(z=rim + 0.5), 0.05, 0.17),
    )
    return low, icing, high


SHAPES: dict[str, Callable[[Points, Proportions], Slots]] = {
    **{kind: _alone(block) for kind, block in BLOCKS.items()},
    "arch": arch,
    "mushroom": mushroom,
    "tree": tree,
    "snowman": snowman,
    "duck": duck,
    "cake": cake,
}
