"""The offline table: what it refuses, and that groups stay together in a split."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Tokens, Vectors
from tests.checks import seeded


def table(n: int = 100, group: torch.Tensor | None = None) -> LabelledDesigns:
    """Designs that carry their own row number."""
    rows = torch.arange(n).float()
    return LabelledDesigns(rows[:, None], rows + 0.5, rows + 1, group)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_rewards_must_be_finite(bad: float) -> None:
    with pytest.raises(DataError, match=r"2 of 4 rewards(.|\n)*design 2"):
        LabelledDesigns(torch.zeros(4, 1), torch.tensor([0.0, bad, 1.0, bad]))
    with pytest.raises(DataError, match=r"1 of 4 designs(.|\n)*design 3"):
        LabelledDesigns(torch.tensor([0.0, 1.0, bad, 2.0])[:, None], torch.arange(4.0))


@pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan])
def test_variances_must_be_positive(bad: float) -> None:
    with pytest.raises(DataError, match="variance"):
        LabelledDesigns(torch.zeros(2, 1), torch.zeros(2), torch.tensor([1.0, bad]))


@pytest.mark.parametrize("column", ["y", "variance", "group"])
def test_columns_must_be_as_long_as_the_designs(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    columns = {"y": torch.ones(3), "variance": torch.ones(3), "group": torch.ones(3).long()}
    columns[column] = columns[column][:2]
    with pytest.raises(DataError, match=f"3 designs, but 2 values(.|\n)*{column}"):
        LabelledDesigns(torch.zeros(3, 1), **columns)


def test_std_is_the_sample_standard_deviation() -> None:
    assert LabelledDesigns(torch.zeros(3, 1), torch.tensor([1.0, 2.0, 6.0])).std == pytest.approx(7**0.5)


def test_taken_rows_keep_all_their_columns() -> None:
    taken = table(group=torch.arange(100) // 2).take(torch.tensor([7, 3]))
    assert taken.x.flatten().tolist() == [7, 3]
    assert taken.y.tolist() == [7.5, 3.5]
    assert taken.variance.tolist() == [8, 4]
    assert taken.group.tolist() == [3, 1]


def test_a_split_has_every_row_once_and_keeps_columns_together() -> None:
    first, second = table().split(0.2, seeded())
    assert (len(first), len(second)) == (80, 20)
    assert sorted(torch.cat([first.x, second.x]).flatten().tolist()) == list(range(100))
    for part in (first, second):
        assert torch.equal(part.y, part.x[:, 0] + 0.5)
        assert torch.equal(part.variance, part.x[:, 0] + 1)


def test_a_split_keeps_groups_together() -> None:
    group = torch.randint(1000, (100,), generator=seeded()) % 30 * 7 - 50  # neither sorted nor contiguous
    first, second = table(group=group).split(0.3, seeded())
    assert not set(first.group.tolist()) & set(second.group.tolist())
    assert len(set(second.group.tolist())) == round(0.3 * len(set(group.tolist())))


def test_a_split_is_random_and_reproducible() -> None:
    one, again, other = (table().split(0.2, seeded(seed))[1].x for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.flatten().tolist() != list(range(80, 100))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.999, 1.0])
def test_neither_side_of_a_split_is_empty(share: float) -> None:
    first, second = table(5).split(share, seeded())
    assert len(first) >= 1
    assert len(second) >= 1


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 group"):
        table(5, torch.zeros(5).long()).split(0.5, seeded())


def test_copies_are_averaged_and_counted() -> None:
    """ACGA three times, once as its other strand TCGT; AAAA twice, once as TTTT; the palindrome ACGT once."""
    space = Tokens("ACGT", 4, ("reverse_complement",))
    x = space.encode(["ACGA", "AAAA", "TCGT", "ACGT", "ACGA", "TTTT"])
    data = LabelledDesigns(x, torch.tensor([1.0, 5.0, 2.0, 7.0, 6.0, 8.0]), group=torch.tensor([4, 5, 4, 6, 4, 5]))
    merged, count = data.merged(space)
    found = {space.decode(merged.x)[k]: (float(merged.y[k]), int(count[k])) for k in range(len(merged))}
    assert found == {"ACGA": (3.0, 3), "AAAA": (6.5, 2), "ACGT": (7.0, 1)}
    assert merged.variance is None
    assert merged.group is not None
    assert sorted(merged.group.tolist()) == [4, 5, 6]


def test_precise_copies_count_more() -> None:
    """1 ± √.5 and 4 ± 1: weights 2 and 1, mean 2, variance 1/3."""
    x, y, variance = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([1.0, 4.0, 0.0]), torch.tensor([0.5, 1.0, 1.0])
    data, count = LabelledDesigns(x, y, variance).merged(Vectors(1))
    assert data.variance is not None
    assert count.tolist() == [2, 1]
    assert data.y.tolist() == pytest.approx([2, 0])
    assert data.variance.tolist() == pytest.approx([1 / 3, 1])


def test_a_table_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing can be learned from 1 design"):
        LabelledDesigns(torch.zeros(3, 1), torch.arange(3.0)).merged(Vectors(1))
    with pytest.raises(DataError, match="all rewards are equal"):
        LabelledDesigns(torch.eye(3), torch.full((3,), 0.1)).merged(Vectors(3))
    copies = LabelledDesigns(
        torch.eye(2).repeat(3, 1), torch.tensor([0.1] * 6), torch.rand(6, generator=seeded()) + 0.1
    )
    with pytest.raises(DataError, match="all rewards are equal"):  # weighted averages of equal numbers may differ
        copies.merged(Vectors(2))


def test_without_copies_nothing_changes() -> None:
    data = LabelledDesigns(torch.eye(3), torch.arange(3.0))
    merged, count = data.merged(Vectors(3))
    assert merged is data
    assert count.tolist() == [1, 1, 1]
