"""The ensemble: all members train and predict in one batched pass over stacked weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_bootstrap import BootstrapSpec
from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_core.nets.mlp import StackedMLP
from braid_core.nets.training import Schedule, train

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class EnsemblePosterior(Posterior):
    """The members' predictions ``(m, b)`` in reward units."""

    members: Float[Tensor, "m b"]
    c: float
    bound: str

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return self.members.mean(0)

    @property
    def std(self) -> Float[Tensor, " b"]:
        return self.members.std(0)

    def conservative(self) -> Float[Tensor, " b"]:
        mean = self.mean
        # the mean of equal numbers may round below them
        penalty = (mean - self.members.amin(0)).clamp(min=0) if self.bound == "min" else self.std
        return mean - self.c * penalty


class BootstrapOracle(Oracle):
    """Perceptrons on the flattened design, averaged over the space's symmetries."""

    def __init__(self, spec: BootstrapSpec, space: Space, device: torch.device) -> None:
        self.spec, self.space, self.device = spec, space, device
        self.net = self._network(torch.Generator(device).manual_seed(0))  # a definite start; `fit` draws anew
        self.location = torch.zeros((), device=device)
        self.scale = torch.ones((), device=device)

    def _network(self, generator: torch.Generator) -> StackedMLP:
        n_in = torch.Size(self.space.event_shape).numel()
        return StackedMLP(self.spec.members, n_in, self.spec.width, self.spec.depth, 1, generator)

    def _standardised(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b"]:
        """Predictions before the reward's scale; ``x`` is ``(b, *event)``, or ``(m, b, *event)`` one batch each.

        The mean over all forms that the space calls the same design makes the prediction exactly symmetric.
        """
        event = len(self.space.event_shape)
        batch = x.shape[:-event]
        forms = self.space.orbit(x.flatten(0, -event - 1))
        rows = forms.reshape(len(forms), *batch, -1).movedim(0, -3)  # (g b f), or (m g b f)
        values: Tensor = self.net(rows.flatten(-3, -2)).squeeze(-1)
        return values.reshape(len(values), len(forms), -1).mean(1)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        if len(data) < self.spec.members:
            raise DataError(
                f"{len(data)} labelled designs are fewer than the {self.spec.members} ensemble members",
                why="part of the table is held out to judge the oracle; the rest trains it",
                fix="measure more designs, or lower `members`",
            )
        if bool((data.y == data.y[0]).all()):  # their standard deviation need not round to 0
            raise DataError("all rewards are equal", why="there is nothing to learn from them", fix="check the table")
        data = data.to(self.device)
        self.net = self._network(generator)
        training, validation = data.split(VALIDATION_SHARE, generator)
        self.location, self.scale = training.y.mean(), data.y.std()
        members = self.spec.members
        resample, size = _resamples(training, members, generator)
        weight = torch.ones_like(training.y) if training.variance is None else 1 / training.variance
        weight = weight / weight.mean()
        target = (training.y - self.location) / self.scale
        held = (validation.y - self.location) / self.scale
        held_weight = torch.ones_like(held) if validation.variance is None else 1 / validation.variance
        held_weight = held_weight / held_weight.mean()

        def loss() -> Tensor:
            share = torch.rand(members, self.spec.batch, generator=generator, device=self.device)
            index = resample.gather(1, (share * size[:, None]).long())
            error = self._standardised(training.x[index]) - target[index]
            return (weight[index] * error.square()).mean(1)

        @torch.no_grad()
        def validate() -> Tensor:
            return (held_weight * (self._standardised(validation.x) - held).square()).mean(1)

        schedule = Schedule(
            self.spec.train_steps, self.spec.learning_rate, weight_decay=self.spec.weight_decay, patience=20
        )
        train(list(self.net.parameters()), loss, validate, schedule, log)
        self.net.requires_grad_(False)

    def posterior(self, x: Float[Tensor, " b *event"]) -> EnsemblePosterior:
        return EnsemblePosterior(self._standardised(x) * self.scale + self.location, self.spec.c, self.spec.bound)

    def state(self) -> State:
        tensors = {f"net.{name}": value.detach().clone() for name, value in self.net.state_dict().items()}
        return State({**tensors, "location": self.location.clone(), "scale": self.scale.clone()})

    def load_state(self, state: State) -> None:
        self.net.load_state_dict(state.under("net"))
        self.net.requires_grad_(False)
        self.location, self.scale = state.tensors["location"], state.tensors["scale"]


def _resamples(
    data: LabelledDesigns, members: int, generator: torch.Generator
) -> tuple[Int[Tensor, "m most"], Int[Tensor, " m"]]:
    """Row indices of each member's resample, padded at the end, and how many there are.

    Whole groups are drawn with replacement, as many as there are. Rows of one group (the strands of a molecule,
    repeats) are not independent: drawn one by one, hardly a molecule would be missing from a member, and the members
    would agree too well.
    """
    n, device = len(data), data.y.device
    group = torch.arange(n, device=device) if data.group is None else data.group
    _, member = torch.unique(group, return_inverse=True)
    groups = int(member.max()) + 1
    drawn = torch.randint(groups, (members, groups), generator=generator, device=device)
    counts = torch.stack([row.bincount(minlength=groups) for row in drawn])[:, member]  # m n
    rows = torch.arange(n, device=device)
    padded = torch.nn.utils.rnn.pad_sequence([rows.repeat_interleave(count) for count in counts], batch_first=True)
    return padded, counts.sum(1)
