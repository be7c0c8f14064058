"""Paired comparisons against examples worked by hand, SciPy, and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from braid_core.errors import DataError
from braid_core.experiment.compare import compare, comparison_table, holm, interval, rank_sum, signed_rank


def table(values: dict[str, dict[str, list[float]]], std: float = 2.0) -> pd.DataFrame:
    """Rows of a bench: ``values[task][method]`` by seed."""
    rows = [
        {"task": task, "backbone": "masked", "method": method, "seed": seed, "column": "selected", "truth_q50": value}
        for task, methods in values.items()
        for method, by_seed in methods.items()
        for seed, value in enumerate(by_seed)
    ]
    return pd.DataFrame(rows).assign(offline_std=std, other=1.0, n=128, shortfall=0, missing=0)


def test_differences_are_paired_and_in_offline_standard_deviations() -> None:
    rows = table({"t": {"A": [3, 5, 9], "B": [1, 4, 9]}})
    (found,) = compare(rows.sample(frac=1, random_state=0), "A", "B")
    assert found.seeds == (0, 1, 2)
    assert found.differences == (1.0, 0.5, 0.0)
    assert found.mean == 0.5
    assert found.p == 0.5  # two differences of one sign: 2 of the 4 pairs of signs are as extreme
    (back,) = compare(rows, "B", "A")
    assert back.differences == (-1.0, -0.5, 0.0)
    assert back.p == found.p


def test_only_shared_seeds_count() -> None:
    rows = table({"t": {"A": [3, 5, float("nan")], "B": [1, 4, 9]}})
    assert compare(rows, "A", "B")[0].seeds == (0, 1)


def test_a_reference_row_has_no_backbone_and_fits_every_one() -> None:
    rows = table({"t": {"A": [3, 5], "Random": [1, 4]}})
    rows.loc[rows["method"] == "Random", "backbone"] = None
    twice = pd.concat([rows, rows[rows["method"] == "A"].assign(backbone="simplex", truth_q50=7.0)])
    first, second = compare(twice, "A", "Random")
    assert (first.backbone, first.differences) == ("masked", (1.0, 0.5))
    assert (second.backbone, second.differences) == ("simplex", (3.0, 1.5))


def test_a_handful_of_designs_is_no_column() -> None:
    """Nine designs of a generator that has collapsed are better than 128 of another: that says nothing."""
    rows = table({"t": {"A": [9, 9, 9], "B": [1, 4, 9]}})
    few = (rows["method"] == "A") & (rows["seed"] > 0)
    rows.loc[few, ["n", "shortfall"]] = [63, 65]
    assert compare(rows, "A", "B")[0].seeds == (0,)
    rows["missing"] = np.where(rows["method"] == "B", 65, 0)  # whose truth nobody knows
    with pytest.raises(DataError, match="share no task and seed"):
        compare(rows, "A", "B")
    rows["missing"] = 0
    rows.loc[rows["method"] == "A", ["n", "shortfall"]] = [9, 119]
    with pytest.raises(DataError, match="share no task and seed"):
        compare(rows, "A", "B")


def test_there_is_no_interval_of_a_few_differences() -> None:
    assert interval(np.array([0.0, 1.0, 0.5, 0.5])) == (None, None)
    assert interval(np.full(5, 0.3)) == pytest.approx((0.3, 0.3), abs=1e-12)


def test_the_interval_against_all_resamples() -> None:
    values = np.array([0.1, -0.4, 0.5, 0.9, 0.2])
    means = np.array([np.mean(one) for one in product(values, repeat=5)])
    assert interval(values) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.02)


@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_the_test_is_scipys_where_there_are_no_ties(n: int) -> None:
    for seed in range(5):
        d = np.random.default_rng(seed).normal(0.4, 1, n)
        assert signed_rank(d) == pytest.approx(wilcoxon(d, method="exact").pvalue, abs=1e-12)


def test_ties_and_zeros_by_hand() -> None:
    """Ranks of 1, 1, −1, 2: 2, 2, 2, 4; sum of signed ranks 6. As extreme: ±10 (2 ways), ±6 (3 each), of 16."""
    assert signed_rank(np.array([1.0, 1.0, -1.0, 2.0])) == 8 / 16
    assert signed_rank(np.array([1.0, 0.0, 1.0, -1.0, 2.0])) == 8 / 16
    assert signed_rank(np.zeros(4)) == 1.0
    assert signed_rank(np.arange(1.0, 6.0)) == 0.0625
    assert signed_rank(np.arange(1.0, 9.0)) == 2 / 256
    assert signed_rank(np.arange(1.0, 31.0)) < 1e-4


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.02]) == pytest.approx([1.0, 1.0, 0.06])
    assert holm([0.02]) == [0.02]


def steady(difference: float, n: int) -> dict[str, list[float]]:
    """Differences around one, in units of the offline standard deviation 2."""
    return {"A": [2 * (difference + 0.01 * k) for k in range(n)], "B": [0.0] * n}


@pytest.mark.parametrize(
    ("difference", "seeds", "verdict"),
    [
        (0.5, 8, "better"),
        (-0.5, 8, "worse"),
        (0.5, 7, "not worse"),  # however large the difference is
        (0.5, 5, "not worse"),
        (-0.05, 5, "not worse"),
        (-0.5, 5, "undecided"),
        (0.5, 4, "too few seeds"),
    ],
)
def test_what_may_be_said(difference: float, seeds: int, verdict: str) -> None:
    (found,) = compare(table({"t": steady(difference, seeds)}), "A", "B")
    assert found.verdict == verdict


def test_many_tasks_ask_for_more() -> None:
    """Two-sided p is 2/256 each: ten of them adjust it to 20/256 > .05."""
    alone = compare(table({"t": steady(0.5, 8)}), "A", "B")
    many = compare(table({f"t{k}": steady(0.5, 8) for k in range(10)}), "A", "B")
    assert {one.p for one in (*alone, *many)} == {2 / 256}
    assert {one.p_holm for one in many} == {20 / 256}
    assert alone[0].verdict == "better"
    assert {one.verdict for one in many} == {"not worse"}


def test_the_table_of_comparisons() -> None:
    made = comparison_table(compare(table({"s": steady(0.5, 8), "t": steady(-0.5, 3)}), "A", "B"))
    assert made[["task", "a", "b", "seeds", "verdict"]].values.tolist() == [
        ["s", "A", "B", 8, "better"],
        ["t", "A", "B", 3, "too few seeds"],
    ]


def test_names_that_are_not_there() -> None:
    rows = table({"t": {"A": [3], "B": [1]}, "u": {"C": [1]}})
    with pytest.raises(DataError, match="no method 'D'"):
        compare(rows, "A", "D")
    with pytest.raises(DataError, match=r"no column 'truth_q5'(.|\n)*did you mean 'truth_q50'"):
        compare(rows, "A", "B", metric="truth_q5")
    with pytest.raises(DataError, match="share no task and seed"):
        compare(rows, "A", "C")


def test_an_outlier_that_turns_the_mean_decides_nothing() -> None:
    """Eleven of twelve differences are negative: the ranks lean down (12 − 66 = −54), and the mean is above zero."""
    (found,) = compare(table({"t": {"A": [100.0, *(-1 - k / 10 for k in range(11))], "B": [0.0] * 12}}), "A", "B")
    assert found.mean > 0
    assert found.p_holm < 0.05
    assert found.verdict == "undecided"
    assert rank_sum(np.array([3.0, -1.0, -2.0, 0.0])) == 0
    assert rank_sum(np.array([1.0, 1.0, -1.0, 2.0])) == 6


def test_a_reference_may_come_first() -> None:
    rows = table({"t": {"A": [3, 5], "Random": [1, 4]}})
    rows.loc[rows["method"] == "Random", "backbone"] = None
    twice = pd.concat([rows, rows[rows["method"] == "A"].assign(backbone="simplex", truth_q50=7.0)])
    first, second = compare(twice, "Random", "A")
    assert (first.backbone, first.seeds, first.differences) == ("masked", (0, 1), (-1.0, -0.5))
    assert (second.backbone, second.seeds, second.differences) == ("simplex", (0, 1), (-3.0, -1.5))
    assert compare(rows[rows["method"] == "Random"].assign(backbone=float("nan")), "Random", "Random")[0].mean == 0
