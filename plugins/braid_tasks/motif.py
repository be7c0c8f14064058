"""The motif task: a landscape that is drawn, not measured, so that its optimum and its noise are known exactly."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import LabelledDesigns, Streams, Task, Tokens
from braid_tasks import MotifSpec
from braid_tasks.draws import normal
from braid_tasks.enumeration import all_letters, nan_where_undefined
from braid_tasks.fingerprint import fingerprint


class Motif(Task):
    """Find the best of a few thousand sequences: r(x) = Σ_i w[i, x_i] + Σ_i e[i, x_i, x_{i+1}].

    ``weights`` w ~ N(0, 1) and ``pairs`` e ~ N(0, epistasis²) come from the landscape seed. Raises
    :class:`SpecError` when more offline designs are asked for than lie below the cap.
    """

    space: Tokens
    name = "motif"
    unit = "arbitrary units"
    has_truth = True
    truth_kind = "computed"

    def __init__(self, spec: MotifSpec, seed: int) -> None:
        self.spec = spec
        self.space = Tokens(spec.alphabet, spec.length)
        v, landscape, data = len(spec.alphabet), Streams(spec.landscape_seed), Streams(seed)
        self.weights = normal((spec.length, v), landscape.get("motif/weights"))
        self.pairs = spec.epistasis * normal((spec.length - 1, v, v), landscape.get("motif/pairs"))
        self.preferences = spec.preference * normal((spec.length, v), landscape.get("motif/preference"))
        self._offline = self._draw_offline(data)
        self._unlabelled = self._draw_unlabelled(data.get("task/unlabelled"))
        self.notes = (
            f"Synthetic: letter weights and neighbour epistasis over {v**spec.length:,} designs, drawn from landscape "
            f"seed {spec.landscape_seed}; no measurement stands behind it.",
            f"Offline: {spec.n:,} designs drawn uniformly at or below the reward quantile {spec.cap}, with label "
            f"noise of {spec.noise:g} standard deviations.",
            f"Pretraining set: {spec.unlabelled:,} designs drawn with letter preferences of strength {spec.preference}."
            if spec.preference
            else "Pretraining set: every design once; the KL to the pretrained model is negative entropy.",
        )

    def _draw_offline(self, streams: Streams) -> LabelledDesigns:
        spec = self.spec
        letters = all_letters(len(spec.alphabet), spec.length)
        rewards = self._reward(letters)
        below = (rewards <= torch.quantile(rewards, spec.cap)).nonzero().flatten()
        if spec.n > len(below):
            raise SpecError(
                f"n = {spec.n:,} offline designs cannot be drawn",
                where="task.n",
                why=f"{len(below):,} of {len(rewards):,} designs lie below the reward quantile {spec.cap}",
                fix="give a smaller n, a larger cap or a longer motif",
            )
        rows = below[torch.randperm(len(below), generator=streams.get("task/subsample"))[: spec.n]]
        noise = spec.noise * rewards[below].std() * normal(rewards.shape, streams.get("task/noise"))
        return LabelledDesigns(self.space.one_hot(letters[rows]), (rewards + noise)[rows].float())

    def _draw_unlabelled(self, generator: torch.Generator) -> Int[Tensor, "n l"]:
        if not self.spec.preference:
            return all_letters(len(self.spec.alphabet), self.spec.length)
        probabilities = self.preferences.softmax(-1)
        return torch.multinomial(probabilities, self.spec.unlabelled, replacement=True, generator=generator).T

    def _reward(self, letters: Int[Tensor, "b l"]) -> Float[Tensor, " b"]:
        """The noise-free reward of letter indices, in float64."""
        position = torch.arange(self.spec.length)
        single = self.weights[position, letters].sum(1)
        return single + self.pairs[position[:-1], letters[:, :-1], letters[:, 1:]].sum(1)

    def optimum(self) -> tuple[str, float]:
        """The best design of all and its reward, found by enumeration."""
        letters = all_letters(len(self.spec.alphabet), self.spec.length)
        rewards = self._reward(letters)
        best = int(rewards.argmax())
        return self.space.decode(self.space.one_hot(letters[best : best + 1]))[0], float(rewards[best])

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self.space.one_hot(self._unlabelled)

    def fingerprint(self) -> str:
        return fingerprint(
            self.spec.model_dump(mode="json", exclude={"type"}), self._offline.x, self._offline.y, self._unlabelled
        )

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The noise-free rewards of the designs' most likely letters."""
        rewards = self._reward(x.argmax(-1).cpu()).float().to(x.device)
        return nan_where_undefined(rewards, x)
