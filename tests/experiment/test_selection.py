"""The automatic budget of path KL: chosen on offline data alone, by a rehearsal one reward level down."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_gp import GPSpec
from braid_tasks.motif import Motif
from torch import Tensor

from braid_core.errors import BraidError, DataError, SpecError
from braid_core.experiment.run import run
from braid_core.experiment.selection import Judge, Rung, automatic, budgets, choose, halves, refuse
from braid_core.interfaces import Images, LabelledDesigns, Problem, Streams, Tokens, Vectors
from braid_core.tuning.price import price
from tests.checks import seeded

from .tiny import read, stored, tiny

AUTO: dict[str, Any] = {"task": {"n": 160, "cap": 0.8}, "objective": {"kl_budget": "auto", "steps": 12}}


def rung(budget: float, judged: float | None, error: float = 0.1, n: int = 8) -> Rung:
    return Rung(budget, budget, n, 0.0, 0.0, judged, error)


def test_the_smallest_budget_within_the_best_ones_error_is_chosen() -> None:
    """Breiman et al.'s rule of one standard error."""
    rungs = [rung(0.5, 1.0), rung(1, 1.95), rung(2, 2.0), rung(4, 1.2)]
    assert choose(rungs, 8) == 1
    assert choose([rung(0.5, 1.0), rung(1, 1.85), rung(2, 2.0)], 8) == 2
    assert choose([rung(0.5, -1.0), rung(1, 0.0)], 8) == 1


def test_a_collapsed_model_is_not_chosen() -> None:
    assert choose([rung(1, 1.0), rung(2, 1.5), rung(4, 9.0, n=7)], 8) == 2
    assert choose([rung(1, 1.0, n=5), rung(2, None, n=1)], 8) == 1  # none fills the column: what comes closest


def test_budgets_are_powers_of_two_up_to_half_the_entropy_of_the_space() -> None:
    assert budgets(Tokens("ACGT", 8)) == (0.5, 1, 2, 4)  # 8·ln 4/2 = 5.5 nats
    assert budgets(Tokens("ACGT", 50)) == (0.5, 1, 2, 4, 8, 16, 32)
    assert budgets(Tokens("ACDEFGHIKLMNPQRSTVWY", 300))[-1] == 64
    assert budgets(Vectors(3)) == (0.5, 1, 2)
    assert budgets(Images(1, 28, 28))[-1] == 64
    assert budgets(Tokens("AC", 1)) == (0.5,)


def test_the_judge_ranks_designs_that_it_has_not_seen_and_stays_within_the_rewards() -> None:
    space = Tokens("ACGT", 6, ("reverse_complement",))
    x = space.random(400, seeded(1))
    y = x[:, 0, 0] + x[:, 5, 3] + 0.5 * x[:, 2, 1] + 0.5 * x[:, 3, 2]  # the same for both strands
    judge = Judge(LabelledDesigns(x[:300], y[:300]), space, 0)
    found = judge(x[300:])
    assert float(torch.corrcoef(torch.stack([found, y[300:].double()]))[0, 1]) > 0.8
    assert float(found.min()) >= float(y.min())
    assert float(found.max()) <= float(y.max())
    torch.testing.assert_close(judge(space.orbit(x[300:])[1]), found)
    assert torch.equal(Judge(LabelledDesigns(x[:300], y[:300]), space, 0)(x[300:]), found)


def test_precise_measurements_weigh_more() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    data = LabelledDesigns(x, torch.tensor([0.0, 10.0, 1.0, 1.0]), torch.tensor([0.01, 100.0, 1.0, 1.0]))
    assert float(Judge(data, Vectors(1), 0)(x[:1])) < 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tiny(**AUTO), tmp_path_factory.mktemp("auto"))


def test_a_run_shows_its_rehearsal_and_tunes_with_what_it_chose(folder: Path) -> None:
    found = read(folder)["selection"]
    assert [rung["budget"] for rung in found["rungs"]] == list(budgets(tiny().task.build(0).space))
    assert found["chosen"] in [rung["budget"] for rung in found["rungs"]]
    assert -1 <= found["judge"] <= 1
    assert all(math.isfinite(rung["kl"]) and 0 < rung["n"] <= 16 for rung in found["rungs"])
    again = run(tiny(**{**AUTO, "objective": {"kl_budget": found["chosen"], "steps": 12}}), folder.parent)
    assert len(stored(folder.parent, "objective")) == 1  # the same tuning, under its own name
    assert (again / "designs.csv").read_bytes() == (folder / "designs.csv").read_bytes()
    assert read(again)["selection"] is None
    assert not (again / "checkpoints" / "selection").exists()


def test_it_repeats(folder: Path, tmp_path: Path) -> None:
    assert read(run(tiny(**AUTO), tmp_path)) == read(folder)


def test_the_rehearsal_sees_no_truth_and_tunes_on_lower_rewards_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Problem] = []
    cls, original = type(BraidSpec().build()), type(BraidSpec().build()).fit

    def fit(self: Any, problem: Problem) -> Any:
        seen.append(problem)
        return original(self, problem)

    def truth(self: Motif, x: Tensor) -> Tensor:
        raise AssertionError("the truth was asked")

    monkeypatch.setattr(cls, "fit", fit)
    with monkeypatch.context() as poisoned:
        poisoned.setattr(Motif, "truth", truth)
        with pytest.raises(AssertionError, match="the truth was asked"):
            run(tiny(**AUTO), tmp_path)  # everything up to the judgement is done
    rehearsed, final = seen
    assert len(rehearsed.data) == round(0.4 * len(final.data))
    assert len(stored(tmp_path, "objective")) == 1
    assert len(final.data) == len(tiny(**AUTO).task.build(0).offline())
    assert float(rehearsed.data.y.max()) <= float(final.data.y.quantile(0.8)) < float(final.data.y.max())


def test_the_rehearsal_does_not_ask_the_task_what_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that was trained on data set aside may say it."""

    def valid(self: Motif, x: Tensor) -> Tensor:
        raise AssertionError("the judge was asked")

    monkeypatch.setattr(Motif, "valid", valid)
    with pytest.raises(AssertionError, match="the judge was asked"):
        run(tiny(**AUTO), tmp_path)
    assert len(stored(tmp_path, "selection")) == len(stored(tmp_path, "objective")) == 1


def labelled(y: Tensor, group: Tensor | None = None) -> LabelledDesigns:
    return LabelledDesigns(torch.arange(len(y), dtype=torch.float32)[:, None], y, None, group)


def test_oracle_and_judge_of_the_rehearsal_share_no_measurement() -> None:
    """Or the judge would take noise that the oracle has fitted for reward."""
    data = labelled(torch.randn(400, generator=seeded()))
    fitted, judged = halves(data, Streams(0))
    assert sorted(torch.cat([fitted.x, judged.x]).flatten().tolist()) == list(range(400))
    assert len(fitted) == 160
    assert float(fitted.y.max()) <= float(data.y.quantile(0.8)) < float(judged.y.max())


def test_groups_stay_together_and_count_by_their_mean() -> None:
    group = torch.arange(400) // 4
    noise = torch.randn(400, generator=seeded())
    data = labelled(group / 100 + noise, group)
    fitted, judged = halves(data, Streams(0))
    assert not set(fitted.group.tolist()) & set(judged.group.tolist())
    means = (data.y.view(100, 4)).mean(1)
    assert float(means[fitted.group].max()) <= float(means.repeat_interleave(4).quantile(0.8))


def test_a_table_without_a_top_has_nothing_to_rehearse_for() -> None:
    y = torch.randn(400, generator=seeded()).clamp(max=0.2)  # two fifths tie at the maximum
    with pytest.raises(DataError, match="0 of higher"):
        halves(labelled(y), Streams(0))


@pytest.mark.parametrize(("zeros", "c", "refused"), [(0.85, 1.0, True), (0.77, 1.0, False), (0.77, "auto", True)])
def test_lower_rewards_that_are_all_alike_are_refused_before_anything_is_fitted(
    zeros: float, c: float | str, refused: bool
) -> None:
    y = torch.cat([torch.zeros(int(zeros * 1000)), torch.rand(1000 - int(zeros * 1000), generator=seeded()) + 1])
    data = labelled(y[torch.randperm(1000, generator=seeded())])
    expected = (
        pytest.raises(DataError, match="the lower 80% of the rewards are all equal") if refused else nullcontext()
    )
    with expected as caught:
        refuse(GPSpec(c=c), data, Streams(0))
    assert not refused or "a number" in str(caught.value.fix)


def test_other_oracles_can_be_rehearsed(tmp_path: Path) -> None:
    spec = {**tiny(**AUTO).to_dict(), "oracle": GPSpec(c="auto").model_dump(mode="json")}
    assert read(run(spec, tmp_path))["selection"]["chosen"] > 0


def test_too_small_a_table_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few for a rehearsal") as caught:
        run(tiny(**{**AUTO, "task": {"n": 60}}), tmp_path)
    assert "give kl_budget, or alpha, a number" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_without_a_run_nobody_chooses() -> None:
    spec = BraidSpec(kl_budget="auto")
    assert automatic(spec)
    assert not automatic(BraidSpec())
    assert not automatic(BraidSpec(kl_budget=2.0))
    assert spec.alpha is None
    with pytest.raises(SpecError, match="has to be chosen before tuning"):
        price(spec)
    with pytest.raises(BraidError):
        tiny(objective={"kl_budget": "auto", "alpha": 0.2})
