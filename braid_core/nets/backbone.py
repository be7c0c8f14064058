"""Backbones that are a chain and a network: pretraining, opening for fine-tuning, learned state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import replace
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from braid_core.errors import StoreError, UnsupportedError
from braid_core.interfaces import Backbone, Condition, ConditionSpec, Log, Process, Silent, State, Tunable
from braid_core.nets.denoiser import denoiser, kind_of
from braid_core.nets.examples import Examples, check_designs, examples
from braid_core.nets.randomness import seeded_from
from braid_core.nets.spec import PretrainingSpec, TrainingSpec
from braid_core.nets.training import Schedule, train

VALIDATION_SHARE = 0.1
BLOCK = 512  # rows validated at once


class TrainedBackbone(Backbone):
    """Everything but where the network comes from, which a subclass defines.

    The network is called as ``net(x, t)``, with the condition as a third argument where the backbone takes one.
    """

    net: nn.Module

    def __init__(
        self,
        process: Process,
        training: TrainingSpec | None,
        device: torch.device,
        condition: ConditionSpec | None = None,
    ) -> None:
        self.process, self.training, self.device, self.condition = process, training, device, condition
        self._start()

    def _start(self) -> None:
        """A definite untrained network; `fit` draws anew from its own generator."""
        self._renew(torch.Generator(self.device).manual_seed(0))

    def _renew(self, generator: torch.Generator) -> None:
        """A new network, closed. What its author has frozen, such as the base under an adapter, is never trained."""
        net = self._network(generator)
        self._frozen = frozenset(name for name, p in net.named_parameters() if not p.requires_grad)
        self.net = net.eval().requires_grad_(False)

    def _open(self) -> list[nn.Parameter]:
        """The parameters that may change, which take a gradient from now on."""
        parameters = [p for name, p in self.net.named_parameters() if name not in self._frozen]
        if not parameters:
            raise UnsupportedError(
                f"the network ({type(self.net).__name__}) has nothing to train",
                why="none of its parameters takes a gradient",
                fix="leave those that may be trained with requires_grad = True",
            )
        for parameter in parameters:
            parameter.requires_grad_(True)
        return parameters

    @abstractmethod
    def _network(self, generator: torch.Generator) -> nn.Module:
        """The network before training, on the backbone's device."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """Designs a training step, where the spec leaves it open."""

    def predict(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Tensor:
        """The network's output. Raises :class:`UnsupportedError` for a condition of another form than its own."""
        self._check(condition, len(x))
        out: Tensor = self.net(x, t) if condition is None else self.net(x, t, condition)
        return out

    def _check(self, condition: Condition | None, rows: int) -> None:
        if (condition is None) != (self.condition is None):
            raise UnsupportedError(
                "a condition was given to an unconditional model"
                if self.condition is None
                else "a conditional model was asked without a condition",
                fix="make a conditional twin with fresh(ConditionSpec(...)), or mark the condition as null",
            )
        if condition is None or self.condition is None:
            return
        expected = (rows, self.condition.size)
        if tuple(condition.values.shape) != expected:
            raise UnsupportedError(
                f"conditions of shape {tuple(condition.values.shape)} were given where {expected} was expected",
                why=f"{rows} designs, each with a condition of kind {self.condition.kind!r} and size "
                f"{self.condition.size}",
                fix="give one row for each design; a class as a one-hot row",
            )

    def fit(
        self,
        designs: Float[Tensor, " n *event"],
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Float[Tensor, " m"] | None = None,  # m = n, or it is refused
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """Minimise the process' loss over the designs in proportion to their ``weights``; a weight of 0 means absent.

        A tenth of the designs is held out to stop early and to keep the best of the averaged weights. Conditions are
        hidden at the rate of label dropout (that of the condition's spec, or the training's), except in validation.
        Raises :class:`DataError` for designs that are not of the process' space, for fewer than two, for weights that
        are negative, not finite or of another number and for conditions that are not finite;
        :class:`UnsupportedError` for conditions of another form than its own.
        """
        check_designs(designs, self.process.space)
        self._check(conditions, len(designs))
        spec = self.training
        if spec is None:
            return
        data = examples(designs, conditions, weights, self.device)
        self._learn_encoding(data.x)
        data = replace(data, x=self.encode(data.x))
        batch = spec.batch or self.batch
        form = self.condition
        hidden = spec.label_dropout if form is None or form.dropout is None else form.dropout
        with seeded_from(generator):
            self._renew(generator)
            parameters = self._open()
            order = torch.randperm(len(data), generator=generator, device=self.device)
            held = min(max(1, round(VALIDATION_SHARE * len(data))), 8 * batch)
            training, validation = order[held:], order[:held]
            # A small table is judged on each design several times, or validation is noise.
            validation = validation.repeat(-(-2 * batch // held))

            def loss(_: Tensor) -> Tensor:
                self.net.train()
                pick = torch.randint(len(training), (batch,), generator=generator, device=self.device)
                return self._loss(data.at(training[pick]), generator, hidden).mean()[None]

            @torch.no_grad()
            def validate(_: Tensor) -> Tensor:
                self.net.eval()
                source = torch.Generator(self.device).manual_seed(0)  # the same noise every time
                blocks = [data.at(rows) for rows in torch.split(validation, BLOCK)]
                total = torch.stack([self._loss(block, source, 0.0).sum() for block in blocks]).sum()
                return (total / data.weights[validation].sum())[None]

            # A small table is learned by heart within a few passes: look every ten of them.
            every = max(5, min(50, 10 * len(data) // batch))
            schedule = Schedule(spec.train_steps, spec.learning_rate, every, max(10, 250 // every), ema=spec.ema)
            train(parameters, loss, validate, schedule, log)
        self.net.eval().requires_grad_(False)

    def _learn_encoding(self, designs: Float[Tensor, " n *event"]) -> None:
        """Learn what ``encode`` needs; called by ``fit``, before training, with the designs that count."""

    def _loss(self, data: Examples, generator: torch.Generator, hidden: float) -> Float[Tensor, " b"]:
        """The weighted loss of each design, told its condition except for a share of ``hidden``."""
        condition = data.condition
        if condition is not None and hidden:
            condition = condition.dropped(hidden, generator)
        return data.weights * self.process.loss(self.predict, data.x, generator, condition)

    def _copy(self) -> Self:
        twin = copy(self)
        twin.net = deepcopy(self.net)
        return twin

    def fresh(self, condition: ConditionSpec | None) -> Self:
        # A copy, not a new object: whatever else a subclass was given, its twin has too.
        twin = copy(self)
        twin.condition = condition
        twin._start()
        return twin

    def tunable(self) -> Tunable:
        """Raises :class:`UnsupportedError` for a network that is frozen altogether."""
        tuned, reference = self._copy(), self._copy()
        return Tunable(tuned, reference.predict, tuned._open())

    def _form(self) -> dict[str, object]:
        """What weights are meant for, beside their shapes."""
        condition = None if self.condition is None else {"kind": self.condition.kind, "size": self.condition.size}
        return {"network": type(self.net).__name__, "condition": condition}

    def state(self) -> State:
        return State({name: value.detach().clone() for name, value in self.net.state_dict().items()}, self._form())

    def load_state(self, state: State) -> None:
        """Raises :class:`StoreError`, naming the shapes, for weights of another network."""
        own = self._form()
        faults = [
            f"{name} {state.meta[name]} was stored, {own[name]} is expected"
            for name in own
            if state.meta.get(name, own[name]) != own[name]
        ]
        load_weights(self.net, state.tensors, faults)
        self.net.eval().requires_grad_(False)


class NetworkBackbone(TrainedBackbone):
    """A chain driven by one of the shipped networks, chosen by the shape of the chain's states.

    ``out`` is the shape of a prediction (default: that of a design). A network that is not ``timed`` is not told the
    time, for chains whose best prediction does not depend on it.
    """

    def __init__(
        self,
        process: Process,
        spec: PretrainingSpec,
        device: torch.device,
        condition: ConditionSpec | None = None,
        *,
        out: tuple[int, ...] | None = None,
        timed: bool = True,
    ) -> None:
        self.spec, self.timed = spec, timed
        self.shape = tuple(process.prior(1, torch.Generator(device).manual_seed(0)).shape[1:])
        self.out = process.space.event_shape if out is None else out
        super().__init__(process, spec, device, condition)

    @property
    def batch(self) -> int:
        return 512 if kind_of(self.spec.network, self.shape) == "mlp" else 64

    def _network(self, generator: torch.Generator) -> nn.Module:
        return denoiser(self.spec.network, self.shape, self.out, generator, condition=self.condition, timed=self.timed)


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor], faults: list[str] | None = None) -> None:
    """Copy ``tensors`` into ``net``; raises :class:`StoreError` with the differences in names and shapes, or NaN."""
    own, faults = net.state_dict(), list(faults or [])
    faults += [f"{name} {tuple(own[name].shape)} is missing" for name in own if name not in tensors]
    faults += [f"{name} {tuple(t.shape)} is not part of it" for name, t in tensors.items() if name not in own]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise StoreError(
            f"the weights are not those of this network ({type(net).__name__})",
            why="; ".join(faults[:4]) + more,
            fix="build the network with the options that it was trained with",
        )
    spoilt = [name for name, tensor in tensors.items() if bool(tensor.isnan().any())]
    if spoilt:
        raise StoreError(
            "the weights hold NaN",
            where=spoilt[0],
            why=f"{len(spoilt)} of {len(tensors)} tensors do, so that every prediction would be NaN",
            fix="take weights from before the training diverged",
        )
    net.load_state_dict(tensors)
