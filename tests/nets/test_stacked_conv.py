"""Stacked convolutions against plain torch convolutions, one member at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braid_core.nets.conv import StackedConv
from tests.checks import seeded

MEMBERS, CHANNELS, DEPTH = 3, 6, 3
SEQUENCE, LONG, IMAGE = (4, 11), (4, 150), (2, 9, 7)


def stacked(shape: tuple[int, ...], seed: int = 0) -> StackedConv:
    return StackedConv(MEMBERS, shape, CHANNELS, DEPTH, seeded(seed))


def plain(net: StackedConv, member: int, x: Tensor) -> Tensor:
    """One member, rebuilt from torch's own layers."""
    for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        if x.ndim == 3:
            layer: nn.Module = nn.Conv1d(x.shape[1], CHANNELS, 5, padding=2 * 2**i, dilation=2**i)
            layer.weight.data = weight[member, :, :, 0]
        else:
            layer = nn.Conv2d(x.shape[1], CHANNELS, 3, padding=1)
            layer.weight.data = weight[member]
        layer.bias.data = bias[member]
        update = nn.functional.silu(layer(x))
        x = update if i == 0 else x + update
        if x.ndim == 4:
            x = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
        elif i == 0 and x.shape[2] > 64:
            x = nn.functional.avg_pool1d(x, 3, ceil_mode=True)  # 150 letters to 50
    return x.movedim(1, -1).flatten(1)


@pytest.mark.parametrize("shape", [SEQUENCE, LONG, IMAGE], ids=["sequence", "long", "image"])
@pytest.mark.parametrize("own", [False, True], ids=["shared batch", "own batches"])
def test_members_are_separate_networks(shape: tuple[int, ...], own: bool) -> None:
    net = stacked(shape)
    x = torch.randn(*([MEMBERS] if own else []), 5, *shape, generator=seeded(1))
    expected = torch.stack([plain(net, m, x[m] if own else x) for m in range(MEMBERS)])
    torch.testing.assert_close(net(x), expected)
    assert expected.shape == (MEMBERS, 5, net.n_out)


def test_channels_that_equal_the_input_change_nothing() -> None:
    """A residual around the first layer would depend on whether the batch is shared."""
    net = StackedConv(2, (CHANNELS, 9), CHANNELS, 2, seeded())
    x = torch.randn(4, CHANNELS, 9, generator=seeded(1))
    torch.testing.assert_close(net(x), net(x.expand(2, -1, -1, -1)))


def test_a_design_does_not_depend_on_its_batch() -> None:
    net, x = stacked(SEQUENCE), torch.randn(5, *SEQUENCE, generator=seeded(1))
    torch.testing.assert_close(net(x), torch.cat([net(row[None]) for row in x], 1))


def test_weights_are_the_generators_alone() -> None:
    before = torch.random.get_rng_state()
    one, again, other = stacked(SEQUENCE), stacked(SEQUENCE), stacked(SEQUENCE, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for p, q, r in zip(one.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, r)
