"""The Ehrlich task: long sequences, motifs with gaps, banned neighbours, and an optimum that is known."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.interfaces import Streams, Tokens
from braid_tasks.computed import EhrlichSpec
from braid_tasks.pooled import Pool, PooledTask

NATURAL = 1000
CITATION = (
    "Synthetic: an Ehrlich function (Stanton et al. 2024, arXiv:2407.00236): the product over motifs of the best "
    "quantised share of a motif's letters, at its gaps, anywhere in the design. 1 is the optimum."
)


class Ehrlich(PooledTask):
    """Find the sequence that holds all motifs: r(x) = Π_i max_p ⌊q · share_i(x, p)⌋/q, of feasible sequences.

    ``share_i(x, p)``: of the k letters of motif i, at its ``offsets`` behind position p, those that x has. Feasible
    is what a Markov chain with the ``transitions`` can draw; what is not has no reward (NaN, where the article has
    −∞), and is not valid. The pool is drawn from the chain, the logits of whose transitions are standard normal.

    The landscape, where the article leaves a choice: a random cycle through all letters is never banned, nor is a
    repeat, so that the chain is ergodic. Motifs are one draw of c·k letters, none like the one before, cut into c: so
    motifs whose gaps are filled by repeats can follow each other, and one design holds them all. Offsets of a motif
    are uniform among those that span at most ⌊L/c⌋ letters, so that all motifs fit.
    """

    space: Tokens
    spec: EhrlichSpec
    name = "ehrlich"
    unit = "share of the optimum"

    def __init__(self, spec: EhrlichSpec, seed: int) -> None:
        self.space = Tokens(spec.alphabet, spec.length)
        super().__init__(spec, seed)
        landscape = (
            f"{spec.motifs} motifs of {spec.motif_length} letters in {spec.levels} levels; after each letter "
            f"{int((self.transitions[0] == 0).sum())} of {len(spec.alphabet)} are banned; landscape seed "
            f"{spec.landscape_seed}. Designs with a banned pair are not valid and have no reward."
        )
        chain = "All are drawn from the chain of allowed neighbours, the natural designs too."
        self.notes = (CITATION, landscape, self._split_note(), f"{self._pretraining_note()} {chain}")

    def _draw(self, streams: Streams) -> Pool:
        spec = self.spec
        self.transitions = _transitions(len(spec.alphabet), spec.banned, streams.get("landscape/transitions"))
        moves = self.transitions.clone().fill_diagonal_(0)
        chain = _walks(moves, 1, spec.motifs * spec.motif_length, streams.get("landscape/motifs"))
        self.motifs = chain.reshape(spec.motifs, spec.motif_length)
        self.offsets = self._draw_offsets(streams.get("landscape/offsets"))
        letters = _walks(self.transitions, spec.pool, spec.length, streams.get("landscape/pool"))
        return Pool(self.space.one_hot(letters), self._products(letters))

    def _draw_offsets(self, generator: torch.Generator) -> Int[Tensor, "c k"]:
        """Where a motif's letters are, counted from its first."""
        k, room = self.spec.motif_length, self.spec.length // self.spec.motifs
        later = [torch.randperm(room - 1, generator=generator)[: k - 1].sort().values + 1 for _ in self.motifs]
        return torch.nn.functional.pad(torch.stack(later), (1, 0))

    def _products(self, letters: Int[Tensor, "b l"]) -> Float[Tensor, " b"]:
        """Π_i max_p ⌊q · share_i⌋/q, whether feasible or not."""
        k, q = self.spec.motif_length, self.spec.levels
        product = torch.ones(len(letters), dtype=torch.float64)
        for motif, offsets in zip(self.motifs, self.offsets, strict=True):
            starts = self.spec.length - int(offsets[-1])
            hits = [letters[:, at : at + starts] == letter for letter, at in zip(motif, offsets.tolist(), strict=True)]
            most = torch.stack(hits).sum(0).amax(1)
            product *= (most * q // k).double() / q
        return product

    def _feasible(self, letters: Int[Tensor, "b l"]) -> Bool[Tensor, " b"]:
        return (self.transitions[letters[:, :-1], letters[:, 1:]] > 0).all(1)

    def _rewards(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        letters = x.argmax(-1)
        return torch.where(self._feasible(letters), self._products(letters), torch.nan)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which designs are sequences without a banned pair of neighbours."""
        return self.space.contains(x) & self._feasible(x.argmax(-1).cpu()).to(x.device)

    def optimum(self) -> tuple[str, float]:
        """A design with every motif, gaps filled by repeats, and its reward, 1."""
        letters: list[int] = []
        for motif, offsets in zip(self.motifs, self.offsets, strict=True):
            ends = [*offsets.tolist()[1:], int(offsets[-1]) + 1]
            letters += [int(a) for a, i, j in zip(motif, offsets.tolist(), ends, strict=True) for _ in range(j - i)]
        letters += letters[-1:] * (self.spec.length - len(letters))
        x = self.space.one_hot(torch.tensor([letters]))
        return self.space.decode(x)[0], float(self._rewards(x))

    def natural(self) -> Float[Tensor, "n l v"]:
        """Draws of the chain that are not in the pool."""
        generator = Streams(self.spec.landscape_seed).get("landscape/natural")
        return self.space.one_hot(_walks(self.transitions, NATURAL, self.spec.length, generator))


def _transitions(v: int, banned: float, generator: torch.Generator) -> Float[Tensor, "v v"]:
    """Rows of probabilities of the next letter, 0 where it is banned; every letter can be reached from every other."""
    logits = torch.randn(v, v, generator=generator, dtype=torch.float64)
    cycle = torch.randperm(v, generator=generator)
    order = torch.rand(v, v, generator=generator)
    order[torch.arange(v), torch.arange(v)] = 2.0  # kept: a repeat,
    order[cycle, cycle.roll(-1)] = 2.0  # and the next letter of the cycle
    out = order.argsort(1)[:, : min(int(banned * v), v - 2)]
    return logits.scatter(1, out, -torch.inf).softmax(1)


def _walks(transitions: Float[Tensor, "v v"], n: int, length: int, generator: torch.Generator) -> Int[Tensor, "n l"]:
    """Draws of the chain; the first letter is uniform."""
    steps = [torch.randint(len(transitions), (n,), generator=generator)]
    for _ in range(length - 1):
        steps.append(torch.multinomial(transitions[steps[-1]], 1, generator=generator)[:, 0])
    return torch.stack(steps, 1)
