"""Groups and the table."""

from dataclasses import fields

from engine.evaluation.report import MEANINGS, grouped, legend, table
from engine.evaluation.verdict import Figures
from engine.primitives.grammar import Spec

SPECS = [
    Spec("cube", ("red",)),
    Spec("cube", ("red", "blue"), "on", "cube"),
    Spec("cube", ("red",), count=3),
    Spec("cup", ("red", "blue")),
]


def test_groups() -> None:
    groups = grouped(SPECS, lambda spec: spec)
    cube, on, row, cup = ([spec] for spec in SPECS)
    assert groups == {
        "all": SPECS,
        "one colour": cube,
        "two colours": cup,
        "on": on,
        "row": row,
        "cup": cup,
        "cube": cube,
    }
    assert list(groups)[:2] == ["all", "one colour"]


def test_table() -> None:
    rows = {
        "all": {"count": 12, "colour_retrieval": 0.5, "chamfer": None, "third_colour": None},
        "one colour": {"count": 3, "colour_retrieval": 1.0, "chamfer": 0.04, "third_colour": None},
    }
    assert table(rows).splitlines() == [
        "             n   R 64  chamfer",
        "all         12  0.500        -",
        "one colour   3  1.000    0.040",
    ]


def test_each_head_of_the_table_has_its_meaning() -> None:
    rows = {
        "all": {"count": 12, "colour_retrieval": 0.5, "kind": 0.5, "third_colour": None},
        "cup": {"count": 3, "colour_retrieval": None, "kind": 1.0, "third_colour": None},
    }
    assert legend(rows).splitlines() == [
        f"n     {MEANINGS['count']}",
        f"R 64  {MEANINGS['colour_retrieval']}",
        f"kind  {MEANINGS['kind']}",
    ]
    assert list(MEANINGS) == [field.name for field in fields(Figures)]
