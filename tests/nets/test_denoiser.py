"""The networks of backbones: shapes, what they are told, where their weights come from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, ConditionSpec
from braid_core.nets.denoiser import ConvDenoiser, MLPDenoiser, denoiser, kind_of
from braid_core.nets.spec import DenoiserSpec
from braid_core.nets.unet import UNet
from tests.checks import seeded

TINY = DenoiserSpec(width=8, depth=2)
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "vector": ((3,), (3,)),
    "short sequence": ((4, 5), (4, 4)),
    "sequence": ((20, 5), (20, 4)),
    "sequence of one letter": ((17, 1), (17, 1)),
    "image": ((1, 12, 12), (1, 12, 12)),
    "odd image": ((3, 13, 21), (2, 13, 21)),
    "line": ((1, 1, 9), (1, 1, 9)),
    "two pixels": ((2, 2, 1), (2, 2, 1)),
}
CLASS = ConditionSpec("class", 3)


def told(*values: list[float], null: bool = False) -> Condition:
    return Condition(torch.tensor(values), torch.full((len(values),), null))


def make(shape: str, spec: DenoiserSpec | None = None, seed: int = 0, **options: object) -> nn.Module:
    """Of the shapes, each network has some: sequences are read by convolutions unless ``spec`` says otherwise."""
    if spec is None:
        spec = TINY.model_copy(update={"kind": "conv"}) if shape.startswith("sequence") else TINY
    return denoiser(spec, *SHAPES[shape], seeded(seed), **options)


def states(shape: str, n: int = 4) -> Tensor:
    return torch.randn(n, *SHAPES[shape][0], generator=seeded(1))


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


@pytest.mark.parametrize("condition", [None, CLASS])
def test_states_in_and_predictions_out(shape: str, condition: ConditionSpec | None) -> None:
    """Twice: the first backward pass is where a memory layout that a kernel cannot read would show."""
    net, x = make(shape, condition=condition), states(shape).requires_grad_()
    given = None if condition is None else told(*[[1.0, 0.0, 0.0]] * 4)
    for _ in range(2):
        out = net(x, torch.rand(4, generator=seeded()), given)
        assert out.shape == (4, *SHAPES[shape][1])
        assert out.is_contiguous()
        out.square().sum().backward()
    assert x.grad is not None
    assert all(
        p.grad is not None and bool(p.grad.isfinite().all())
        for name, p in net.named_parameters()
        if name[-4:] != "null"
    )


def test_a_prediction_is_that_of_its_own_row(shape: str) -> None:
    net, x, t = make(shape), states(shape), torch.rand(4, generator=seeded())
    torch.testing.assert_close(net(x[2:3], t[2:3]), net(x, t)[2:3], rtol=1e-4, atol=1e-5)


def test_time_is_told_unless_it_is_left_out(shape: str) -> None:
    x, early, late = states(shape), torch.full((4,), 0.9), torch.full((4,), 0.1)
    timed, timeless = make(shape), make(shape, timed=False)
    assert not torch.allclose(timed(x, early), timed(x, late), atol=1e-4)
    assert torch.equal(timeless(x, early), timeless(x, late))
    assert not any("told" in name for name in timeless.state_dict())


@pytest.mark.parametrize("kind", [ConditionSpec("scalar", 1), CLASS, ConditionSpec("embedding", 5)])
def test_every_kind_of_condition_reaches_the_output(shape: str, kind: ConditionSpec) -> None:
    net, x, t = make(shape, condition=kind), states(shape, 1), torch.ones(1)
    zero, one = [0.0] * kind.size, [1.0] + [0.0] * (kind.size - 1)
    outs = [net(x, t, told(zero)), net(x, t, told(one)), net(x, t, told(zero, null=True))]
    for i, a in enumerate(outs):
        for b in outs[:i]:
            assert not torch.allclose(a, b, atol=1e-5)


def test_null_is_a_token_of_its_own() -> None:
    """Whatever the value of a null condition is, NaN too, it changes neither the output nor a gradient."""
    net, x, t = make("vector", condition=ConditionSpec("scalar", 1)), states("vector", 2), torch.ones(2)
    null = told([0.0], [0.0], null=True)
    assert torch.equal(net(x, t, null), net(x, t, told([torch.nan], [7.0], null=True)))
    net(x, t, told([torch.nan], [7.0], null=True)).sum().backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and bool(g.isfinite().all()) for g in grads.values())
    assert bool(grads["told.null"].any())
    assert not bool(grads["told.condition.weight"].any())


def test_auto_goes_by_the_shape() -> None:
    kinds = {name: type(make(name, TINY)) for name in SHAPES}
    assert kinds["vector"] is kinds["short sequence"] is kinds["sequence"] is MLPDenoiser
    assert kinds["image"] is UNet
    assert [kind_of(DenoiserSpec(), (length, 4)) for length in (100, 101)] == ["mlp", "conv"]
    assert all(isinstance(make(name, DenoiserSpec(kind="mlp", width=8)), MLPDenoiser) for name in SHAPES)


@pytest.mark.parametrize(("kind", "state"), [("conv", (3,)), ("conv", (1, 8, 8)), ("unet", (3,)), ("unet", (20, 4))])
def test_a_kind_that_does_not_fit_is_refused(kind: str, state: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedError, match=r"network.kind(.|\n)*mlp"):
        denoiser(DenoiserSpec(kind=kind), state, state, seeded())


def test_the_paper_preset_is_the_published_network() -> None:
    """DDSM: twenty residual convolutions of 256 channels, kernel 9, dilations 1, 1, 4, 16, 64, and nothing else."""
    with torch.device("meta"):
        net = denoiser(DenoiserSpec(preset="paper"), (200, 4), (200, 4), seeded())
    assert isinstance(net, ConvDenoiser)
    assert [block.weight.shape for block in net.blocks] == [(256, 256, 1, 9)] * 20
    assert [block.dilation[1] for block in net.blocks] == [1, 1, 4, 16, 64] * 4
    assert len(net.mixers) == 0


def test_dilations_stay_within_the_sequence() -> None:
    net = make("sequence", DenoiserSpec(kind="conv", width=4, depth=6))
    assert [block.dilation[1] for block in net.blocks] == [1, 1, 4, 16, 1, 1]


def test_convolutions_are_those_of_one_dimension() -> None:
    """Against torch's own layers for sequences, GroupNorm among them, in another memory layout."""
    net = make("sequence").double()
    x, t = states("sequence").double(), torch.rand(4, generator=seeded()).double()
    shifts = net.shifts(net.told(t, None)).view(4, 2, 8, 1)

    def conv(layer: nn.Conv2d, h: Tensor) -> Tensor:
        weight = layer.weight[:, :, 0]
        return F.conv1d(h, weight, layer.bias, padding=layer.padding[1], dilation=layer.dilation[1])

    h = conv(net.stem, x.transpose(1, 2)).relu()
    for i, block in enumerate(net.blocks):
        rows = F.group_norm((h + shifts[:, i]).contiguous(), 1)
        h = h + conv(block, rows).relu() + torch.einsum("lm,bcm->bcl", net.mixers[i], rows)
    expected = conv(net.head, F.gelu(conv(net.last, h))).transpose(1, 2)
    torch.testing.assert_close(net(x, t), expected)


def test_weights_are_the_generators_alone(shape: str) -> None:
    before = torch.random.get_rng_state()
    one, again, other = (make(shape, seed=seed, condition=CLASS).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name in one:
        assert torch.equal(one[name], again[name])
        assert "norm" in name or "before" in name or "between" in name or not torch.equal(one[name], other[name])


def test_it_is_drawn_where_its_generator_lives() -> None:
    net = make("image", condition=CLASS)
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_untrained_predictions_are_small(shape: str) -> None:
    """A chain that starts from wild predictions has to unlearn them first."""
    with torch.no_grad():
        assert float(make(shape)(states(shape), torch.rand(4, generator=seeded())).abs().max()) < 1
