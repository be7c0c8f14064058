"""The score of every single substitution, against changing the letters of strings one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Tokens
from braid_core.interfaces.transition import straight_through
from braid_core.tuning import estimators, letters
from braid_core.tuning.letters import Memory, by_substitution
from tests.checks import seeded
from tests.doubles import FormulaOracle, GaussianBackbone, GaussianChain, problem

SPACE = Tokens("ACGT", 5)


def hash_like(x: Tensor) -> Tensor:
    """A score without any smoothness between the letters: it reads the strings."""
    return torch.tensor([sum(ord(c) * (i + 2) ** 2 for i, c in enumerate(d)) % 17 for d in SPACE.decode(x)]).to(x.dtype)


def by_hand(x: Tensor) -> Tensor:
    """score(changed) − score, for every position and letter."""
    rows = []
    for design in SPACE.decode(x):
        own = hash_like(SPACE.encode([design]))
        for place in range(SPACE.length):
            changed = SPACE.encode([design[:place] + c + design[place + 1 :] for c in SPACE.alphabet])
            rows.append(hash_like(changed) - own)
    return torch.stack(rows).reshape(x.shape)


@pytest.mark.parametrize("rows", [2**15, 40, 1], ids=["at once", "in blocks", "one position at a time"])
def test_the_gradient_is_what_each_substitution_changes(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(letters.ROWS, "cpu", rows)
    x = SPACE.random(6, seeded()).requires_grad_()
    value = by_substitution(hash_like, x)
    assert torch.equal(value, hash_like(x))
    upstream = torch.randn(6, generator=seeded(1))
    (gradient,) = torch.autograd.grad(value @ upstream, x)
    torch.testing.assert_close(gradient, by_hand(x) * upstream[:, None, None])


def test_each_substitution_is_scored_once_and_without_autograd() -> None:
    scored: list[str] = []

    def score(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        scored.extend(SPACE.decode(x))
        return hash_like(x)

    x = SPACE.random(1, seeded()).requires_grad_()
    by_substitution(score, x).sum().backward()
    assert len(scored) == len(set(scored)) == 1 + SPACE.length * 3


def test_no_more_designs_are_scored_at_once_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(letters.ROWS, "cpu", 10)  # one position of these six designs has 18 substitutions

    def score(x: Tensor) -> Tensor:
        assert len(x) <= 10
        return hash_like(x)

    x = SPACE.random(6, seeded()).requires_grad_()
    by_substitution(score, x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, by_hand(x))


def test_a_memory_changes_no_gradient() -> None:
    """Copies in a batch, neighbours of one another, and the same batch once more."""
    x = torch.cat([SPACE.random(6, seeded()), SPACE.encode(["AAAAA", "AAAAC", "AAAAA"])]).requires_grad_()
    memory = Memory(hash_like, SPACE)
    for _ in range(2):
        values = [by_substitution(hash_like, x, known) for known in (None, memory)]
        assert torch.equal(*values)
        assert torch.equal(*(torch.autograd.grad(value.sum(), x)[0] for value in values))


def test_what_is_remembered_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(letters.ROWS, "cpu", 7)
    scored: list[str] = []

    def score(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert len(x) <= 7
        scored.extend(SPACE.decode(x))
        return hash_like(x)

    memory = Memory(score, SPACE)
    for seed in range(3):
        by_substitution(score, SPACE.random(50, seeded(seed)), memory)
    assert len(scored) == len(set(scored)) <= 4**5


def test_large_spaces_and_accelerators_are_not_remembered() -> None:
    cpu = torch.device("cpu")
    assert Memory.holds(Tokens("ACGT", 10), cpu)
    assert not Memory.holds(Tokens("ACGT", 11), cpu)
    assert not Memory.holds(Tokens("ACGT", 300), cpu)
    assert not Memory.holds(SPACE, torch.device("cuda"))


def test_the_gradient_of_a_sampled_letter_is_unbiased_for_any_score() -> None:
    """Heun's rule ½(f'(a) + f'(b))·(a − b) is f(a) − f(b) itself when f' are the differences."""
    here = SPACE.random(1, seeded(4))
    raw = torch.randn(4, generator=seeded(5)).requires_grad_()

    def design(letter: Tensor) -> Tensor:
        return torch.cat([here[:, :2], letter[None, None], here[:, 3:]], 1)

    values = torch.cat([hash_like(design(letter)) for letter in torch.eye(4)])
    (expected,) = torch.autograd.grad((raw.softmax(0) * values).sum(), raw)
    surrogate = torch.zeros(4)
    for number, p in enumerate(raw.softmax(0).tolist()):
        force = torch.zeros(4)
        force[number] = 100
        x = design(straight_through(raw.log_softmax(0), force, None))
        surrogate += p * torch.autograd.grad(by_substitution(hash_like, x).sum(), raw)[0]
    torch.testing.assert_close(surrogate, expected)


def curved(x: Tensor) -> Tensor:
    """Smooth, but far from quadratic between the letters."""
    weight = torch.randn(5 * 4, generator=seeded(6))
    return torch.sin(2 * x.flatten(1) @ weight)


def tuned(oracle: Callable[[Tensor], Tensor] = curved, **options: Any) -> Tensor:
    backbone = MaskedSpec(network={"width": 8, "depth": 1}).build(SPACE, torch.device("cpu"))
    spec = BraidSpec(steps=3, batch=8, **options)
    state = spec.build().fit(problem(backbone, FormulaOracle(oracle))).state()
    return torch.cat([tensor.flatten() for tensor in state.tensors.values()])


def test_auto_is_exact_for_few_substitutions_and_relaxed_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, relaxed = tuned(letter_gradient="exact"), tuned(letter_gradient="relaxed")
    assert not torch.equal(exact, relaxed)
    monkeypatch.setattr(estimators, "MOST_SUBSTITUTIONS", 15)
    assert torch.equal(tuned(), exact)
    monkeypatch.setattr(estimators, "MOST_SUBSTITUTIONS", 14)
    assert torch.equal(tuned(), relaxed)


def test_only_letters_can_be_substituted() -> None:
    backbone = GaussianBackbone(GaussianChain(2, 3))
    with pytest.raises(UnsupportedError, match="not for Vectors"):
        BraidSpec(letter_gradient="exact").build().fit(problem(backbone, FormulaOracle(curved)))


def test_exact_gradients_need_none_of_the_oracle() -> None:
    assert torch.isfinite(tuned(letter_gradient="exact", oracle=lambda x: curved(x).detach())).all()
