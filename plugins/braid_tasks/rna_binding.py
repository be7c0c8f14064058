"""The RNA binding task: RNAs that bind hidden ones, by computed duplex energies, which are exact for any design."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import Streams, Tokens
from braid_tasks.computed import RNABindingSpec
from braid_tasks.fingerprint import fingerprint
from braid_tasks.optional import optional
from braid_tasks.pooled import Pool, PooledTask

LETTERS = "ACGU"
COMPLEMENT = str.maketrans(LETTERS, "UGCA")
BEST, RATE = 0.1, 0.1
"""Mutants descend from the best tenth of the random designs; each letter is drawn again with this probability."""
CITATION = (
    "Truth: minimum free energies of duplexes at 37 °C by ViennaRNA's duplexfold (Lorenz et al. 2011, "
    "doi:10.1186/1748-7188-6-26; its own licence: free to use, also commercially, with credit, not to be sold), as in "
    "the RNA binding landscapes of FLEXS (Sinai et al. 2020, arXiv:2010.02141)."
)


def vienna() -> ModuleType:
    """ViennaRNA; raises :class:`PluginError` where it is not installed."""
    return optional("RNA", "ViennaRNA", "rna-binding")


@lru_cache(maxsize=200_000)  # runs of one process share a landscape and its pool
def energy(target: str, design: str) -> float:
    """The minimum free energy (kcal/mol) of two RNAs without pairs of their own; 0 where staying apart costs less."""
    return min(0.0, float(vienna().duplexfold(target, design).energy))


class RNABinding(PooledTask):
    """Bind ``targets`` as tightly as possible: r(x) = mean over targets of E(target, x)/E(target, its complement).

    As FLEXS has it, the complement's energy is scaled to the designs' length: the perfect complement scores 1 if
    target and design are equally long. It is a mark, not a bound: G·U pairs and dangling ends could exceed it a
    little. The pool is a random half, and one round of directed evolution: mutants of the best of it, one family with
    their parent. Raises :class:`PluginError` without ViennaRNA.
    """

    space: Tokens
    spec: RNABindingSpec
    name = "rna-binding"
    unit = "share of the complement's energy"

    def __init__(self, spec: RNABindingSpec, seed: int) -> None:
        vienna()
        self.space = Tokens(LETTERS, spec.length)
        super().__init__(spec, seed)
        hidden = "one hidden RNA" if spec.targets == 1 else f"{spec.targets} hidden RNAs"
        landscape = (
            f"Landscape: {hidden} of {spec.target_length} letters, drawn from landscape seed {spec.landscape_seed}; 1 "
            "is what the perfect complement reaches."
        )
        pool = (
            "Half are random, half mutants of the best tenth of these, so the KL pulls towards random letters and "
            "towards these parents."
        )
        self.notes = (CITATION, landscape, self._split_note(), f"{self._pretraining_note()} {pool}")

    def _draw(self, streams: Streams) -> Pool:
        self.targets = self._words(
            _letters(self.spec.targets, self.spec.target_length, streams.get("landscape/targets"))
        )
        scale = self.spec.length / self.spec.target_length
        self.norms = [scale * self._complement(target) for target in self.targets]
        generator = streams.get("landscape/pool")
        first = _letters(self.spec.pool - self.spec.pool // 2, self.spec.length, generator)
        best = self._scores(first).argsort(descending=True, stable=True)[: max(1, int(BEST * len(first)))]
        parent = best[torch.randint(len(best), (self.spec.pool // 2,), generator=generator)]
        again = torch.rand(len(parent), self.spec.length, generator=generator) < RATE
        mutants = torch.where(again, _letters(len(parent), self.spec.length, generator), first[parent])
        letters, family = torch.cat([first, mutants]), torch.cat([torch.arange(len(first)), parent])
        return Pool(self.space.one_hot(letters), self._scores(letters), family)

    @staticmethod
    def _complement(target: str) -> float:
        """The energy with which a hidden RNA binds its perfect complement."""
        found = energy(target, target.translate(COMPLEMENT)[::-1])
        if found == 0:
            raise SpecError(
                f"the hidden RNA {target} binds nothing, not even its complement",
                where="task.target_length",
                fix="give a larger target_length, or another landscape_seed",
            )
        return found

    @staticmethod
    def _words(letters: Int[Tensor, "b l"]) -> list[str]:
        return ["".join(LETTERS[i] for i in row) for row in letters.tolist()]

    def _scores(self, letters: Int[Tensor, "b l"]) -> Float[Tensor, " b"]:
        pairs = list(zip(self.targets, self.norms, strict=True))
        rows = [[energy(target, word) / norm for target, norm in pairs] for word in self._words(letters)]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, len(pairs)).mean(1)

    def _rewards(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        return self._scores(x.argmax(-1))

    def fingerprint(self) -> str:
        """Energies may differ between versions of ViennaRNA."""
        return fingerprint({"data": super().fingerprint(), "ViennaRNA": vienna().__version__})


def _letters(n: int, length: int, generator: torch.Generator) -> Int[Tensor, "n l"]:
    return torch.randint(len(LETTERS), (n, length), generator=generator)
