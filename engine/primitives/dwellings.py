"""Houses and what stands in them."""

from collections.abc import Callable

from engine.primitives.shape import Proportions, Slots
from engine.primitives.solids import (
    Points,
    box,
    common,
    cone,
    cylinder,
    dome,
    gable,
    limb,
    sphere,
    torus,
    union,
)


def house(p: Points, u: Proportions) -> Slots:
    """Walls under a gable; the door at the front wears the colour of the roof."""
    deep, wide, eaves = u(0, 0.36, 0.44), u(1, 0.38, 0.46), u(2, -0.06, 0.06)
    walls = box(p.about(z=0.5 * (eaves - 0.54)), deep, wide, 0.5 * (eaves + 0.54))
    chimney = box(p.about(x=-0.5 * deep, y=0.24, z=eaves + 0.3), 0.07, 0.07, 0.24)
    roof = gable(p.about(z=eaves), deep + 0.08, wide + 0.13, u(3, 0.4, 0.56))
    door = box(p.about(x=deep, y=u(4, -0.1, 0.1), z=-0.36), 0.03, 0.1, 0.18)
    return union(walls, chimney), union(roof, door)


def table(p: Points, u: Proportions) -> Slots:
    """A board on four legs, wider than deep."""
    deep, wide, height = u(0, 0.32, 0.41), u(1, 0.46, 0.54), u(2, 0.2, 0.34)
    board = box(p.about(z=height), deep, wide, u(3, 0.05, 0.075))
    thick = u(4, 0.05, 0.075)
    corner = p.mirrored(x=True, y=True).about(x=deep - 0.08, y=wide - 0.08, z=0.5 * (height - 0.5))
    return board, box(corner, thick, thick, 0.5 * (height + 0.5))


def chair(p: Points, u: Proportions) -> Slots:
    """A seat with its back at -X, on four legs."""
    deep, wide, seat = u(0, 0.3, 0.36), u(1, 0.3, 0.37), u(2, -0.14, 0.0)
    board = box(p.about(z=seat), deep, wide, 0.055)
    high = u(3, 0.56, 0.64)
    back = box(p.about(x=0.05 - deep, z=0.5 * (seat + high)), 0.055, wide, 0.5 * (high - seat))
    thick = u(4, 0.045, 0.065)
    corner = p.mirrored(x=True, y=True).about(x=deep - 0.06, y=wide - 0.06, z=0.5 * (seat - 0.64))
    return union(board, back), box(corner, thick, thick, 0.5 * (seat + 0.64))


def lamp(p: Points, u: Proportions) -> Slots:
    """A shade, its stand and its foot."""
    low = u(2, 0.14, 0.24)
    shade = cone(p.about(z=0.5 * (low + 0.64)), u(0, 0.4, 0.52), u(1, 0.2, 0.3), 0.5 * (0.64 - low))
    pole = cylinder(p.about(z=-0.15), u(3, 0.085, 0.115), 0.45)
    foot = cone(p.about(z=-0.6), u(4, 0.3, 0.4), 0.16, 0.1)
    return shade, pole, foot


def bed(p: Points, u: Proportions) -> Slots:
    """A mattress; frame with its headboard at -X, footboard and rails; pillow."""
    wide, top = u(0, 0.33, 0.39), u(1, -0.08, 0.04)
    high, low = u(2, 0.26, 0.34), u(3, -0.02, 0.1)
    mattress = box(p.about(z=0.5 * (top - 0.26)), 0.54, wide, 0.5 * (top + 0.26), 0.03)
    head = box(p.about(x=-0.56, z=0.5 * (high - 0.4)), 0.05, wide + 0.03, 0.5 * (high + 0.4))
    foot = box(p.about(x=0.56, z=0.5 * (low - 0.4)), 0.045, wide + 0.03, 0.5 * (low + 0.4))
    rail = box(p.about(z=-0.25), 0.56, wide + 0.015, 0.07)
    pillow = box(p.about(x=-0.35, z=top + 0.05), 0.15, wide - 0.06, 0.09, 0.05)
    return mattress, union(head, foot, rail), pillow


def cup(p: Points, u: Proportions) -> Slots:
    """A hollow cup with its handle at +Y."""
    radius, tall = u(0, 0.36, 0.46), u(1, 0.4, 0.54)
    q = p.about(y=-0.14)
    hollow = cylinder(q.about(z=0.14), radius - 0.07, tall)
    body = common(cylinder(q, radius, tall), -hollow)
    loop = torus(q.about(y=radius).along_x(), u(2, 0.2, 0.27), u(3, 0.07, 0.095))
    return body, common(loop, radius - 0.02 - q.y)


def teapot(p: Points, u: Proportions) -> Slots:
    """A round pot, spout to the front, handle behind; the lid is the accent."""
    round_ = u(0, 0.36, 0.42)
    pot = common(sphere(p.about(z=-0.08), round_), -0.4 - p.z)
    reach = u(1, 0.62, 0.7)
    spout = limb(p, (0.28, 0.0, -0.2), (reach, 0.0, u(2, 0.14, 0.26)), u(3, 0.065, 0.085))
    loop = torus(p.about(x=-round_ - 0.04, z=-0.06).along_y(), u(4, 0.18, 0.22), 0.055)
    lid = common(sphere(p.about(z=-0.08), round_ + 0.025), 0.16 - p.z)
    knob = sphere(p.about(z=round_ - 0.01), 0.085)
    return union(pot, spout, common(loop, p.x + round_ - 0.1)), union(lid, knob)


def television(p: Points, u: Proportions) -> Slots:
    """A set with its screen at the front and two aerials."""
    deep, wide, tall = u(0, 0.16, 0.3), u(1, 0.52, 0.6), u(2, 0.32, 0.38)
    q = p.about(z=-0.08)
    case = box(q, deep, wide, tall, 0.04)
    feet = box(p.mirrored(y=True).about(y=0.3, z=-0.52), 0.12, 0.06, 0.12)
    aerials = limb(p.mirrored(y=True), (0.0, 0.0, 0.2), (0.0, 0.3, u(3, 0.58, 0.7)), 0.035)
    screen = box(q.about(x=deep), 0.03, wide - 0.09, tall - 0.08, 0.02)
    return union(case, feet, aerials), screen


def umbrella(p: Points, u: Proportions) -> Slots:
    """An open canopy; the stick ends in a hook towards +X."""
    radius, base = u(0, 0.54, 0.68), u(1, 0.06, 0.14)
    lifted = p.about(z=base)
    canopy = common(dome(lifted.about(z=-0.22), radius, 0.04), -lifted.z)
    tip = base + radius - 0.12
    thick, low = u(2, 0.06, 0.08), u(3, -0.56, -0.46)
    stick = cylinder(p.about(z=0.5 * (low + tip)), thick, 0.5 * (tip - low))
    hook = torus(p.about(x=0.15, z=low).along_y(), 0.15, thick)
    return canopy, union(stick, common(hook, p.z - low))


SHAPES: dict[str, Callable[[Points, Proportions], Slots]] = {
    "house": house,
    "table": table,
    "chair": chair,
    "lamp": lamp,
    "bed": bed,
    "cup": cup,
    "teapot": teapot,
    "television": television,
    "umbrella": umbrella,
}
