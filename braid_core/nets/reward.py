"""Networks that learn the reward: one or many side by side, symmetric, in the reward's units."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from braid_core.errors import DataError
from braid_core.interfaces import Images, LabelledDesigns, Log, Silent, Space, State, Stateful, Tokens
from braid_core.nets.conv import StackedConv
from braid_core.nets.mlp import StackedMLP
from braid_core.nets.spec import NetworkSpec
from braid_core.nets.training import Schedule, train

VALIDATION_SHARE = 0.1
MOST_VALIDATED = 2000
BLOCK = 512  # rows evaluated at once: larger temporaries cost more in page faults than they save
SHORT = 16
"""Sequences up to this many letters are read by a perceptron, longer ones by convolutions."""


class RewardModel(Stateful):
    """``members`` networks of equal shape, trained and evaluated in one batched pass.

    Features and predictions are averaged over all forms that the space calls the same design, so they are exactly
    symmetric. Rewards are standardised inside.
    """

    def __init__(self, spec: NetworkSpec, space: Space, members: int, device: torch.device) -> None:
        self.spec, self.space, self.members, self.device = spec, space, members, device
        self._build(torch.Generator(device).manual_seed(0))  # a definite start; `fit` draws anew
        self.location = torch.zeros((), device=device)
        self.scale = torch.ones((), device=device)

    def _build(self, generator: torch.Generator) -> None:
        spec, shape = self.spec, self.space.event_shape
        self.conv: StackedConv | None = None
        n_in, depth = torch.Size(shape).numel(), spec.depth or 2
        if self._convolves():
            channels_first = shape if isinstance(self.space, Images) else (shape[1], shape[0])
            self.conv = StackedConv(self.members, channels_first, spec.channels or 16, spec.depth or 4, generator)
            n_in, depth = self.conv.n_out, 1
        self.mlp = StackedMLP(self.members, n_in, spec.width, depth, 1, generator)

    def _convolves(self) -> bool:
        space, kind = self.space, self.spec.kind
        if kind == "auto":
            return isinstance(space, Images) or (isinstance(space, Tokens) and space.length > SHORT)
        if kind == "conv" and not isinstance(space, Tokens | Images):
            raise DataError(
                f"convolutions need sequences or images, not {type(space).__name__}",
                where="network.kind",
                fix='use kind = "mlp" or "auto"',
            )
        return kind == "conv"

    def features(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b width"]:
        """The last hidden layer; ``x`` is ``(b, *event)``, or ``(m, b, *event)`` one batch each."""
        event = self.space.event_shape
        batch = x.shape[: -len(event)]
        forms = self.space.orbit(x.reshape(-1, *event))
        own = len(batch) == 2
        rows = forms.reshape(len(forms), *batch, *event).movedim(
            0, -len(event) - 2
        )  # (g b), or (m g b), then the event
        hidden = self.mlp.hidden(self._trunk(rows.flatten(int(own), int(own) + 1), own))
        return hidden.reshape(len(hidden), len(forms), -1, hidden.shape[-1]).mean(1)

    def _trunk(self, rows: Tensor, own: bool) -> Tensor:
        if self.conv is None:
            return rows.flatten(1 + own)
        features: Tensor = self.conv(rows.movedim(-1, -2) if isinstance(self.space, Tokens) else rows)
        return features

    def predict(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b"]:
        """Rewards in the units of the data; ``x`` as for :meth:`features`, whose linear function they are."""
        return self._standardised(x) * self.scale + self.location

    def _standardised(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b"]:
        value: Tensor = torch.baddbmm(self.mlp.biases[-1], self.features(x), self.mlp.weights[-1])
        return value.squeeze(-1)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
        *,
        resample: bool = False,
    ) -> None:
        """Train from fresh weights, each member on its own with-replacement resample if ``resample``.

        A part of ``data`` is held out to stop early and keep each member's best weights. Measurements count in
        proportion to their precision, copies of a design as often as they were measured. Raises :class:`DataError`
        where there is nothing to learn (see ``merged``) and for fewer designs than members to resample.
        """
        data = _weighted(data.to(self.device), self.space)
        groups = len(data) if data.group is None else len(torch.unique(data.group))
        if resample and groups < self.members:
            raise DataError(
                f"{groups} labelled designs are fewer than the {self.members} ensemble members",
                why="copies and groups count once; part of the table is held out to judge the oracle",
                fix="measure more designs, or lower `members`",
            )
        training, validation = data.split(min(VALIDATION_SHARE, MOST_VALIDATED / len(data)), generator)
        self._build(generator)
        self.location, self.scale = training.y.mean(), data.y.std()
        (target, weight), (held, held_weight) = (self._standardise(part) for part in (training, validation))
        rows, size = _resamples(training, self.members if resample else 0, generator)
        rows = rows.expand(self.members, -1)

        def loss(left: Tensor) -> Tensor:
            # Drawn for all, so that no member's batches depend on which others have finished.
            share = torch.rand(self.members, self.spec.batch, generator=generator, device=self.device)
            index = rows.gather(1, (share * size[:, None]).long())[left]
            error = self._standardised(training.x[index]) - target[index]
            return (weight[index] * error.square()).mean(1)

        @torch.no_grad()
        def validate(_: Tensor) -> Tensor:
            values = torch.cat([self._standardised(block) for block in torch.split(validation.x, BLOCK)], dim=1)
            return (held_weight * (values - held).square()).mean(1)

        schedule = Schedule(self.spec.train_steps, self.spec.learning_rate, weight_decay=self.spec.weight_decay)
        train(self._parameters(), loss, validate, schedule, log, self.members)
        for parameter in self._parameters():
            parameter.requires_grad_(False)

    def _standardise(self, data: LabelledDesigns) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Targets of mean 0 and standard deviation 1, and weights of mean 1."""
        weight = torch.ones_like(data.y) if data.variance is None else 1 / data.variance
        return (data.y - self.location) / self.scale, weight / weight.mean()

    def _parameters(self) -> list[nn.Parameter]:
        return [*([] if self.conv is None else self.conv.parameters()), *self.mlp.parameters()]

    def state(self) -> State:
        parts = {"mlp": self.mlp} if self.conv is None else {"mlp": self.mlp, "conv": self.conv}
        tensors = {f"{part}.{name}": t for part, net in parts.items() for name, t in net.state_dict().items()}
        tensors |= {"location": self.location, "scale": self.scale}
        return State({name: tensor.detach().clone() for name, tensor in tensors.items()})

    def load_state(self, state: State) -> None:
        for part, net in (("mlp", self.mlp), ("conv", self.conv)):
            if net is not None:
                net.load_state_dict(state.under(part))
                net.requires_grad_(False)
        self.location, self.scale = state.tensors["location"], state.tensors["scale"]


def _weighted(data: LabelledDesigns, space: Space) -> LabelledDesigns:
    """One row for each design; where no variance is known, the *relative* one of an average of several."""
    data, count = data.merged(space)
    return data if data.variance is not None else replace(data, variance=1 / count.to(data.y.dtype))


def _resamples(
    data: LabelledDesigns, members: int, generator: torch.Generator
) -> tuple[Int[Tensor, "m most"], Int[Tensor, " m"]]:
    """Row indices of each member's resample, padded at the end, and how many there are; without members, all rows once.

    Whole groups are drawn with replacement, as many as there are. Rows of one group (repeats, allele pairs) are not
    independent: drawn one by one, hardly a group would be missing from a member, and the members would agree too well.
    """
    n, device = len(data), data.y.device
    rows = torch.arange(n, device=device)
    if members == 0:
        return rows[None], torch.tensor([n], device=device)
    _, member = torch.unique(rows if data.group is None else data.group, return_inverse=True)
    groups = int(member.max()) + 1
    drawn = torch.randint(groups, (members, groups), generator=generator, device=device)
    counts = torch.stack([row.bincount(minlength=groups) for row in drawn])[:, member]  # m n
    padded = nn.utils.rnn.pad_sequence([rows.repeat_interleave(count) for count in counts], batch_first=True)
    return padded, counts.sum(1)
