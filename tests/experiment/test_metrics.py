"""Every figure against an example worked by hand."""

from __future__ import annotations

import pytest
import torch

from braid_core.experiment.metrics import distinct, diversity, mean_or_none, novelty, promise, stats
from braid_core.interfaces import Tokens

NAN, INF = float("nan"), float("inf")
DNA = Tokens("ACGT", 4)
STRANDS = Tokens("ACGT", 4, ("reverse_complement",))


def test_stats_interpolate_and_leave_out_what_is_unknown() -> None:
    found = stats(torch.tensor([4.0, NAN, 0.0, 1.0, 2.0, 3.0, INF]))
    assert found is not None
    assert found == pytest.approx(
        {"mean": 2, "q0": 0, "q10": 0.4, "q25": 1, "q50": 2, "q75": 3, "q90": 3.6, "q100": 4}, abs=1e-12
    )


def test_stats_of_one_and_of_none() -> None:
    one = stats(torch.tensor([2.5]))
    assert one is not None
    assert set(one.values()) == {2.5}
    assert stats(torch.tensor([NAN])) is None
    assert stats(torch.tensor([])) is None


def test_the_mean_of_what_is_known() -> None:
    assert mean_or_none(torch.tensor([1.0, NAN, 2.0])) == 1.5
    assert mean_or_none(torch.tensor([NAN, -INF])) is None


def test_distinct_keeps_the_first_of_each() -> None:
    x = DNA.encode(["ACGA", "TTTT", "ACGA", "TCGT", "TTTT"])
    assert distinct(x, DNA).tolist() == [0, 1, 3]


def test_distinct_counts_both_strands_once() -> None:
    # TCGT is the reverse complement of ACGA, AAAA of TTTT; ACGT is its own.
    x = DNA.encode(["ACGA", "TTTT", "TCGT", "AAAA", "ACGT", "ACGT"])
    assert distinct(x, STRANDS).tolist() == [0, 1, 4]
    assert distinct(x, DNA).tolist() == [0, 1, 2, 3, 4]


def test_distinct_of_nothing() -> None:
    assert distinct(DNA.encode([]), DNA).tolist() == []


def test_novelty_is_the_distance_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    x, offline = DNA.encode(["AAAA", "AACC", "GGGG"]), DNA.encode(["AAAC", "CCCC", "AAAA"])
    expected = [0.0, 0.25, 1.0]
    assert novelty(x, offline, DNA).tolist() == expected
    monkeypatch.setattr("braid_core.experiment.metrics.CHUNK", 1)  # one offline design at a time
    assert novelty(x, offline, DNA).tolist() == expected
    assert novelty(x[:0], offline, DNA).tolist() == []


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    # AAAA–AAAC 1/4, AAAA–CCCC 1, AAAC–CCCC 3/4
    assert diversity(DNA.encode(["AAAA", "AAAC", "CCCC"]), DNA) == pytest.approx(2 / 3)
    assert diversity(DNA.encode(["AAAA", "AAAA"]), DNA) == 0
    assert diversity(DNA.encode(["AAAA"]), DNA) is None
    assert diversity(DNA.encode([]), DNA) is None


def test_a_promise_worked_by_hand() -> None:
    """Predicted 2, 2, 2, 2, bounds 1, 1, 1, 3; true rewards 1.5, 3, 0, 2.

    Above the bounds: .5, 2, −1, −1 (pinball .05, .2, .9, .9). Errors −.5, 1, −2, 0: the best offset below the
    prediction is 2, with .1·(1.5 + 3 + 0 + 2)/4.
    """
    predicted, promised = torch.full((5,), 2.0), torch.tensor([1.0, 1.0, 1.0, 3.0, 1.0])
    truth = torch.tensor([1.5, 3.0, 0.0, 2.0, NAN])
    assert promise(predicted, promised, truth) == pytest.approx(
        {"coverage": 0.5, "slack": 0.125, "pinball": 2.05 / 4, "pinball_offset": 0.65 / 4}, abs=1e-12
    )


def test_promises_that_are_no_numbers_are_passed_over() -> None:
    predicted, truth = torch.full((3,), 2.0), torch.tensor([1.5, 0.5, 3.0])
    found = promise(predicted, torch.tensor([1.0, 1.0, -torch.inf]), truth)
    assert (found["coverage"], found["slack"]) == (0.5, 0.0)
    nothing = promise(predicted, torch.full((3,), NAN), truth)
    assert (nothing["coverage"], nothing["slack"], nothing["pinball"]) == (None, None, None)
    assert nothing["pinball_offset"] is not None


def test_no_offset_is_better_than_the_one_in_hindsight() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, truth = torch.randn(2, 40, generator=generator).double()
    best = promise(predicted, predicted, truth)["pinball_offset"]
    tried = [promise(predicted, predicted - d, truth)["pinball"] for d in torch.linspace(-4, 4, 4001)]
    assert best == pytest.approx(min(loss for loss in tried if loss is not None), abs=1e-3)
    assert best is not None
    assert all(loss is not None and best <= loss + 1e-12 for loss in tried)


def test_without_a_truth_there_is_no_promise_to_keep() -> None:
    nothing = torch.full((3,), NAN)
    assert set(promise(torch.zeros(3), torch.zeros(3), nothing).values()) == {None}
    assert set(promise(torch.empty(0), torch.empty(0), torch.empty(0)).values()) == {None}
