"""Peers: two processes of this test's own, which meet at a port that is free."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch

from engine.primitives.peers import Peers
from engine.primitives.pictures import render_pictures
from engine.primitives.teacher import build, tokenize
from engine.primitives.training import StepConfig, Trainer
from tests.engine.primitives.tiny import SIZES


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    peers = Peers.join("cpu")
    assert (peers.rank, peers.count) == (0, 1)
    value = torch.tensor([1.0, 2.0])
    peers.align([value])
    peers.average([value])
    assert value.tolist() == [1.0, 2.0]
    assert peers.agree(0.25, torch.device("cpu")) == 0.25
    peers.leave()
    assert not torch.distributed.is_initialized()


def _work(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    peers = Peers.join("cpu")
    mine = [torch.full((2, 3), float(rank)), torch.tensor([10.0 * rank])]
    peers.average(mine)
    said = peers.agree(float(rank + 5), torch.device("cpu"))
    # Different pictures, different random numbers, at first even different weights.
    teacher = build(SIZES, seed=rank)
    pictures = render_pictures(8, 20 + rank, size=SIZES.size)
    torch.manual_seed(rank)
    tokens = tokenize(teacher.tokenizer, pictures.captions)
    trainer = Trainer(teacher, pictures.rgba, tokens, StepConfig(batch=4), peers)
    trainer.align()
    for _ in range(3):
        trainer.step(1e-3, 0.5)
    found = {
        "averaged": mine,
        "agreed": said,
        "rank": (peers.rank, peers.count),
        "weights": [weight.detach() for weight in teacher.unet.parameters()],
        "mean": [weight.detach() for weight in trainer.mean.unet.parameters()],
        "losses": torch.tensor(trainer.take_losses()),
    }
    torch.save(found, folder / f"{rank}.pt")
    peers.leave()


def test_two_peers_stay_alike_though_they_see_different_pictures(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawning = multiprocessing.get_context("spawn")
    workers = [
        spawning.Process(target=_work, args=(rank, port, tmp_path), daemon=True)
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for found in (one, other):
        assert found["averaged"][0].tolist() == [[0.5] * 3] * 2
        assert found["averaged"][1].tolist() == [5.0]
        assert found["agreed"] == 5.0
    assert (one["rank"], other["rank"]) == ((0, 2), (1, 2))
    for name in ("weights", "mean"):
        for a, b in zip(one[name], other[name], strict=True):
            assert torch.equal(a, b)
    start = build(SIZES, seed=0).unet.conv_in.weight
    assert not torch.equal(one["weights"][0], start)
    assert not torch.equal(one["losses"].nan_to_num(), other["losses"].nan_to_num())
