import torch

from engine.export.segments import Segments


def test_points_are_the_interval_centres():
    segments = Segments(
        origins=torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
        directions=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
        near=torch.tensor([1.0, 0.0]),
        delta=torch.tensor([0.5, 1.0]),
    )
    distance = segments.distances(2)
    assert distance.tolist() == [[1.25, 1.75], [0.5, 1.5]]
    picks = torch.tensor([[True, False], [True, True]]).nonzero(as_tuple=True)
    expected = [[1.25, 0.0, 0.0], [1.0, 2.0, 2.5], [1.0, 2.0, 1.5]]
    assert segments.points(distance, picks).tolist() == expected
