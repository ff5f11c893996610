"""Vehicles, tools and a robot."""

from collections.abc import Callable

import torch

from engine.primitives.shape import Proportions, Slots, quarters
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


def car(p: Points, u: Proportions) -> Slots:
    """Bonnet to the front, wheels, cabin behind; head lamps wear the colour of the wheels."""
    long, wide, deck = u(0, 0.62, 0.7), u(1, 0.28, 0.34), u(2, -0.04, 0.06)
    lower = box(p.about(z=0.5 * (deck - 0.26)), long, wide, 0.5 * (deck + 0.26), 0.04)
    roof = deck + u(3, 0.22, 0.3)
    cabin = box(
        p.about(x=-0.16, z=0.5 * (deck + roof)), 0.36, wide - 0.04, 0.5 * (roof - deck), 0.05
    )
    size = u(4, 0.16, 0.21)
    axle = p.mirrored(x=True, y=True).about(x=0.4, y=wide, z=-0.27)
    lights = sphere(p.mirrored(y=True).about(x=long, y=0.6 * wide, z=deck - 0.13), 0.07)
    return lower, union(cylinder(axle.along_y(), size, 0.075), lights), cabin


def boat(p: Points, u: Proportions) -> Slots:
    """A hull with its bow at +X and a flat stern; mast and sail are the accent."""
    long, wide, deep = u(0, 0.72, 0.8), u(1, 0.28, 0.36), u(2, 0.3, 0.4)
    q = p.about(z=-0.2)
    hull = common(ellipsoid(q, long, wide, deep), q.z, -0.52 - q.x)
    tall = u(3, 0.66, 0.78)
    mast = cylinder(p.about(x=0.1, z=0.5 * (tall - 0.2)), 0.04, 0.5 * (tall + 0.2))
    run = u(4, 0.44, 0.54)
    slope = run / (tall + 0.02)
    back = (0.1 - p.x - slope * (tall - p.z)) * (1.0 + slope * slope).rsqrt()
    sail = common(back, p.x - 0.1, -0.06 - p.z, p.y.abs() - 0.03)
    return hull, union(mast, sail)


def rocket(p: Points, u: Proportions) -> Slots:
    """A hull on four fins under its nose; the porthole at the front wears the fins' colour."""
    radius, shoulder = u(0, 0.19, 0.26), u(1, 0.18, 0.3)
    hull = cylinder(p.about(z=0.5 * (shoulder - 0.5)), radius, 0.5 * (shoulder + 0.5))
    nose = cone(p.about(z=0.5 * (shoulder + 0.8)), radius, 0.0, 0.5 * (0.8 - shoulder))
    q = quarters(p)
    span, rise = u(2, 0.4, 0.48), u(3, -0.2, -0.05)
    edge = (q.x - radius) * 0.8 + (p.z - rise) * 0.6
    fins = common(edge, q.x - span, q.y - 0.04, -0.68 - p.z, p.z - rise)
    porthole = sphere(p.about(x=radius - 0.03, z=0.08), u(4, 0.09, 0.12))
    return hull, union(fins, porthole), nose


def airplane(p: Points, u: Proportions) -> Slots:
    """A fuselage with its nose at +X, wings, tail; the propeller wears the wings' colour."""
    radius = u(0, 0.12, 0.17)
    hull = limb(p, (-0.56, 0.0, 0.0), (0.56, 0.0, 0.0), radius)
    cockpit = sphere(p.about(x=0.26, z=radius), 0.11)
    chord = u(1, 0.13, 0.19)
    wings = box(p.about(x=u(2, 0.04, 0.16)), chord, u(3, 0.66, 0.74), 0.045)
    tail = box(p.about(x=-0.57, z=0.04), 0.12, u(4, 0.28, 0.36), 0.045)
    fin = box(p.about(x=-0.57, z=0.23), 0.12, 0.045, 0.21)
    propeller = box(p.about(x=0.56 + radius), 0.03, 0.05, 0.26)
    return union(hull, cockpit), union(wings, propeller), union(tail, fin)


def robot(p: Points, u: Proportions) -> Slots:
    """Trunk and arms, head, legs; eyes and mouth wear the trunk's colour, a panel the head's."""
    wide, top = u(0, 0.24, 0.3), u(1, 0.14, 0.2)
    trunk = box(p.about(z=0.5 * (top - 0.28)), 0.2, wide, 0.5 * (top + 0.28), 0.03)
    both = p.mirrored(y=True)
    arms = box(both.about(y=wide + 0.11, z=top - 0.25), 0.08, 0.07, u(2, 0.22, 0.28), 0.02)
    legs = box(both.about(y=0.55 * wide, z=-0.48), 0.12, u(3, 0.09, 0.115), 0.24)
    wide_head = u(4, 0.22, 0.28)
    face = p.about(z=top + 0.26)
    eyes = sphere(face.mirrored(y=True).about(x=0.2, y=0.45 * wide_head, z=0.06), 0.075)
    mouth = box(face.about(x=0.2, z=-0.1), 0.04, 0.12, 0.035)
    head = box(face, 0.2, wide_head, 0.2, 0.03)
    panel = box(p.about(x=0.2, z=top - 0.2), 0.03, 0.13, 0.09)
    aerial = limb(face, (0.0, 0.0, 0.1), (0.0, 0.0, 0.3), 0.035)
    return union(trunk, arms, eyes, mouth), union(head, panel, aerial), legs


def hammer(p: Points, u: Proportions) -> Slots:
    """A head with its striking face at +X and a wedge behind, on its handle."""
    high, size = u(0, 0.4, 0.48), u(1, 0.12, 0.16)
    q = p.about(z=high)
    block = box(q, 0.2, size, size)
    face = cylinder(q.about(x=0.32).along_x(), size + 0.05, 0.12)
    run = u(2, 0.46, 0.56)
    wedge = common(
        (q.z.abs() * 2.0 - (q.x + run)) * 0.447, q.z.abs() - size, q.x, -run - q.x, q.y.abs() - size
    )
    thick = u(3, 0.07, 0.1)
    return union(block, face, wedge), cylinder(
        p.about(z=0.5 * (high - 0.76)), thick, 0.5 * (high + 0.76) + 0.04
    )


def sword(p: Points, u: Proportions) -> Slots:
    """A pointed blade, flat to the front, upright on its hilt."""
    wide, tip = u(0, 0.12, 0.17), u(1, 0.74, 0.82)
    point = (torch.maximum(p.x.abs(), p.y.abs()) * 2.0 + p.z - tip) * 0.447
    ridge = (p.x.abs() * 2.0 + p.y.abs() - wide) * 0.447
    blade = common(point, ridge, p.y.abs() - wide, -0.3 - p.z)
    guard = box(p.about(z=-0.28), 0.08, u(2, 0.26, 0.36), 0.055, 0.02)
    grip = cylinder(p.about(z=-0.48), u(3, 0.055, 0.075), 0.2)
    return blade, union(guard, grip, sphere(p.about(z=-0.68), u(4, 0.09, 0.12)))


def barbell(p: Points, u: Proportions) -> Slots:
    """Two weights a side on a bar along Y."""
    both = p.mirrored(y=True)
    large, small, at = u(0, 0.36, 0.48), u(1, 0.22, 0.32), u(2, 0.38, 0.46)
    weights = union(
        cylinder(both.about(y=at).along_y(), large, 0.08),
        cylinder(both.about(y=at + 0.14).along_y(), small, 0.07),
    )
    return weights, cylinder(p.along_y(), u(3, 0.075, 0.1), u(4, 0.74, 0.8))


SHAPES: dict[str, Callable[[Points, Proportions], Slots]] = {
    "car": car,
    "boat": boat,
    "rocket": rocket,
    "airplane": airplane,
    "robot": robot,
    "hammer": hammer,
    "sword": sword,
    "barbell": barbell,
}
