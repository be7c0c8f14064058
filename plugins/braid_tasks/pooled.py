"""Tasks whose designs are drawn and whose rewards are computed: a pool, the worse part of which is offline."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import LabelledDesigns, Streams, Task
from braid_tasks.computed import PooledSpec
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import offline_note, offline_side


@dataclass(frozen=True)
class Pool:
    """Valid designs, their exact rewards (float64), and a number for those that descend from one."""

    x: Float[Tensor, " n *event"]
    y: Float[Tensor, " n"]
    family: Int[Tensor, " n"] | None = None


class PooledTask(Task):
    """Find designs better than those of a pool, of which methods see rewards at or below the cap only.

    The landscape and the pool follow from the landscape seed, in the streams ``landscape/...``; the constructor keeps
    of the pool's rewards only those that are offline. Raises :class:`SpecError` when fewer designs lie below the cap
    than are needed, or all of these are equally good.
    """

    spec: PooledSpec
    has_truth = True
    truth_kind = "computed"

    def __init__(self, spec: PooledSpec, seed: int) -> None:
        self.spec = spec
        pool = self._draw(Streams(spec.landscape_seed))
        family = torch.arange(len(pool.y)) if pool.family is None else pool.family
        side = offline_side(pool.y, pool.y.quantile(spec.cap), family, spec, seed)
        if not float(pool.y[side.rows].std()) > 0:
            raise SpecError(
                f"all {len(side.rows):,} offline designs are equally good",
                where="task.cap",
                why=f"each has the reward {float(pool.y[side.rows[0]]):g}",
                fix="give a larger cap or an easier landscape",
            )
        group = None if pool.family is None else family[side.rows]
        self._offline = LabelledDesigns(pool.x[side.rows], side.y, group=group)
        self._pretraining = pool.x[side.below] if spec.unlabelled == "offline" else pool.x

    @abstractmethod
    def _draw(self, streams: Streams) -> Pool:
        """The landscape, which is kept, and the pool."""

    @abstractmethod
    def _rewards(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The exact rewards (float64, CPU) of designs of finite numbers; NaN where there is none."""

    def _split_note(self) -> str:
        return f"{offline_note(len(self._offline), self.spec)} of a pool of {self.spec.pool:,}."

    def _pretraining_note(self) -> str:
        below = "those below the cap" if self.spec.unlabelled == "offline" else "the pool"
        return f"Pretraining set: {len(self._pretraining):,} designs, {below}."

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self._pretraining

    def fingerprint(self) -> str:
        options = self.spec.model_dump(mode="json", exclude={"type"})
        return fingerprint(options, self._offline.x, self._offline.y, self._pretraining)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The exact rewards; letters are read as the most likely ones. NaN where an entry is not finite."""
        defined = x.flatten(1).isfinite().all(1).cpu()
        y = torch.full((len(x),), torch.nan, dtype=torch.float64)
        y[defined] = self._rewards(x.cpu()[defined])
        return y.float().to(x.device)
