"""From a table and hyperparameters to the posterior: which designs it rests on, and in what units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_gp.conditioning import Block, Solution, exact, sparse
from braid_gp.expansion import Expansion
from braid_gp.kernel import Hyperparameters, Kind, covariance, prior_variance
from braid_gp.measurements import Measurements

BLOCK = 2048
"""Designs that the sparse posterior reads at once."""
Forms = Callable[[Int[Tensor, " m"]], Float[Tensor, "g m d"]]


@dataclass(frozen=True)
class Regression:
    """A table and all that is assumed of it, ready for conditioning; ``forms(index)`` are kernel inputs, float64."""

    kind: Kind
    assumed: Hyperparameters
    table: Measurements
    forms: Forms
    centre: Float[Tensor, " d"]

    def condition(self, anchors: Int[Tensor, " m"]) -> tuple[Expansion, float]:
        """The posterior on the designs ``anchors``, exact if these are all, and log p(y) or a lower bound of it.

        The evidence is that of y in standard deviations.
        """
        rows = self._located(anchors)
        kernel = self.assumed.output * covariance(self.kind, rows[0], rows)
        if len(anchors) == len(self.table):
            noise, residual = self._noise_and_residual(anchors)
            solution = exact(kernel, noise, residual)
        else:
            solution = sparse(kernel, self._blocks(rows))
        return self._expansion(rows, solution), solution.evidence

    def _located(self, index: Int[Tensor, " m"]) -> Float[Tensor, "g m d"]:
        return (self.forms(index) - self.centre) / self.assumed.lengthscale

    def _noise_and_residual(self, index: Int[Tensor, " m"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
        rows = self.table.take(index)
        return rows.noise(self.assumed.noise), rows.y - self.assumed.mean

    def _blocks(self, rows: Float[Tensor, "g m d"]) -> Iterator[Block]:
        output = self.assumed.output
        for index in torch.split(torch.arange(len(self.table), device=rows.device), BLOCK):
            forms = self._located(index)
            cross, prior = covariance(self.kind, forms[0], rows).T, prior_variance(self.kind, forms)
            yield Block(output * cross, output * prior, *self._noise_and_residual(index))

    def _expansion(self, rows: Float[Tensor, "g m d"], solution: Solution) -> Expansion:
        """In units of the reward."""
        unit, output = self.table.scale, self.assumed.output
        return Expansion(
            kind=self.kind,
            centre=self.centre,
            lengthscale=unit.new_tensor(self.assumed.lengthscale),
            rows=rows,
            constant=self.table.location + unit * self.assumed.mean,
            weights=unit * output * solution.weights,
            # Laid out as it comes back from a file, so that the reopened model rounds the same way.
            root=(unit * output * solution.root).contiguous(),
            scale=unit.square() * output,
        )
