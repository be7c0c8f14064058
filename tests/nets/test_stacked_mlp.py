"""Stacked perceptrons against one plain torch perceptron per member."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braid_core.nets.mlp import StackedMLP
from tests.checks import seeded

MEMBERS, N_IN, WIDTH, DEPTH, N_OUT = 3, 5, 7, 3, 2


class Residual(nn.Module):
    """x + SiLU(Wx + b)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.silu(self.linear(x))


def stacked(seed: int = 0) -> StackedMLP:
    return StackedMLP(MEMBERS, N_IN, WIDTH, DEPTH, N_OUT, seeded(seed))


def plain(net: StackedMLP, member: int) -> nn.Module:
    """One member, rebuilt from torch's own layers."""
    layers = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        layer = nn.Linear(*weight.shape[1:])
        layer.weight.data, layer.bias.data = weight[member].T.clone(), bias[member, 0].clone()
        layers.append(layer)
    first, second, third, last = layers
    return nn.Sequential(first, nn.SiLU(), Residual(second), Residual(third), last)


@pytest.mark.parametrize("own", [False, True], ids=["shared batch", "own batches"])
def test_members_are_separate_perceptrons(own: bool) -> None:
    net = stacked()
    x = torch.randn(*([MEMBERS] if own else []), 11, N_IN, generator=seeded(1))
    expected = torch.stack([plain(net, m)(x[m] if own else x) for m in range(MEMBERS)])
    torch.testing.assert_close(net(x), expected)


def test_the_head_is_linear_in_the_last_hidden_layer() -> None:
    net, x = stacked(), torch.randn(11, N_IN, generator=seeded(1))
    hidden = net.hidden(x)
    assert hidden.shape == (MEMBERS, 11, WIDTH)
    torch.testing.assert_close(net(x), hidden @ net.weights[-1] + net.biases[-1])


def test_the_net_is_not_linear() -> None:
    """Mistake 10 of public code: a reward network without nonlinearities."""
    net, x = stacked(), torch.randn(11, N_IN, generator=seeded(1))
    assert not torch.allclose(net(2 * x) - net(0 * x), 2 * (net(x) - net(0 * x)), rtol=0.01, atol=0.01)


def test_weights_are_the_generators_alone() -> None:
    before = torch.random.get_rng_state()
    one, again, other = stacked(), stacked(), stacked(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for p, q, r in zip(one.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, r)
        assert not torch.equal(p[0], p[1])


def test_weights_start_in_the_usual_range() -> None:
    """U(±1/√fan_in), as torch's own layers."""
    net = StackedMLP(2, 100, 64, 1, 1, seeded())
    for weight, bias, fan_in in zip(net.weights, net.biases, (100, 64), strict=True):
        assert float(torch.cat([weight.flatten(), bias.flatten()]).detach().abs().max()) <= fan_in**-0.5
    first = net.weights[0].detach()
    assert float(first.abs().max()) > 0.99 / 10
    assert float(first.mean()) == pytest.approx(0, abs=0.003)


def test_the_values_do_not_depend_on_whether_a_gradient_is_recorded() -> None:
    net, x = StackedMLP(MEMBERS, WIDTH, WIDTH, DEPTH, N_OUT, seeded()), torch.randn(11, WIDTH, generator=seeded(1))
    before, expected = x.clone(), net(x).detach()
    with torch.no_grad():
        assert torch.equal(net(x), expected)
        assert torch.equal(net(x.expand(MEMBERS, -1, -1)), expected)
    assert torch.equal(x, before)  # what is overwritten is its own
