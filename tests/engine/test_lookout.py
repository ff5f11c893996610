import pytest
import torch

from engine.lookout import Lookout
from tests.engine import waits


def test_a_table_is_received_once_with_the_owners_it_was_sent_with() -> None:
    lookout = Lookout[str]()
    assert lookout.receive() is None
    owners = ["a", "b"]
    lookout.send(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), owners)
    owners[0] = "c"
    assert lookout.receive() == (["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    assert lookout.receive() is None


def test_a_table_under_way_is_not_overtaken() -> None:
    lookout = Lookout[str]()
    lookout.send(torch.tensor([[1.0]]), ["a"])
    lookout.send(torch.tensor([[2.0]]), ["b"])
    assert lookout.receive() == (["a"], [[1.0]])
    lookout.send(torch.tensor([[3.0]]), ["c"])
    assert lookout.receive() == (["c"], [[3.0]])


@pytest.mark.gpu
def test_a_look_never_waits_for_the_device() -> None:
    lookout = Lookout[str]()
    table = torch.ones(2, 3, device="cuda")
    lookout.send(table, ["a", "b"])
    torch.cuda.synchronize()
    assert lookout.receive() == (["a", "b"], [[1.0] * 3] * 2)
    with waits.forbidden():
        lookout.send(2 * table, ["c", "d"])
        lookout.receive()
