"""The Shine-Dalgarno task against its raw file, read here with pandas alone."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import braid_tasks.shine_dalgarno as module
import pandas as pd
import pytest
import torch
from braid_tasks import ShineDalgarnoSpec
from braid_tasks.shine_dalgarno import ShineDalgarno

from braid_core.errors import DataError, SpecError

REPLICATES = {0.017082: 3, 0.025624: 2, 0.051247: 1}


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    with as_file(module.packaged()) as path:
        return pd.read_csv(path)


@pytest.fixture(scope="module")
def task() -> ShineDalgarno:
    return ShineDalgarnoSpec().build(0)


def test_the_file_is_what_its_readme_says(raw: pd.DataFrame) -> None:
    assert raw.y.quantile([0.01, 0.25, 0.5, 0.75, 0.99]).round(3).to_list() == [0.225, 0.446, 0.511, 0.617, 2.196]
    core = raw.sequence.str.contains("AGGAG|GGAGG|GAGGT|AAGGA")
    assert raw.y[core].mean() == pytest.approx(1.66, abs=0.005)
    assert raw.y[~core].mean() == pytest.approx(0.60, abs=0.005)
    assert set(raw.y_var) == set(REPLICATES)


def test_what_lies_below_the_cap_is_offline(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    below = raw[raw.y <= raw.y.quantile(0.95)]
    data = task.offline()
    assert task.space.decode(data.x) == below.sequence.to_list()
    assert data.y.tolist() == torch.tensor(below.y.to_list()).tolist()
    assert data.variance is not None
    assert data.variance.tolist() == torch.tensor(below.y_var.to_list()).tolist()
    assert data.group is None
    assert task.space.symmetries == ()


def test_the_default_cap_leaves_something_to_learn(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    data = task.offline()
    assert data.variance is not None
    assert data.y.var() > data.variance.mean()
    lower = raw[raw.y <= raw.y.quantile(0.9)]
    assert lower.y.var() < lower.y_var.mean()


def test_nothing_above_the_cap_is_handed_on(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    data = task.offline()
    assert float(data.y.max()) <= raw.y.quantile(0.95)
    for column in (data.x, data.y, data.variance):
        assert column is not None
        assert column.untyped_storage().nbytes() == column.numel() * column.element_size()


def test_the_truth_is_loaded_only_when_asked_for() -> None:
    task = ShineDalgarnoSpec().build(0)
    task.offline(), task.unlabelled(), task.fingerprint(), task.valid(task.unlabelled()[:3])
    held = [value for value in vars(task).values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    assert held == []
    task.truth(task.offline().x[:1])
    assert "_truth" in vars(task)


def test_what_was_not_measured_is_neither_valid_nor_true(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    every = task.space.one_hot(module.all_letters(4, 9))
    valid, truth = task.valid(every), task.truth(every)
    assert int(valid.sum()) == len(raw) == 257_565
    assert torch.equal(valid, truth.isfinite())
    assert set(task.space.decode(every[valid])) == set(raw.sequence)


def test_relaxed_and_undefined_designs(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    x = task.space.encode([raw.sequence[5], raw.sequence[5]])
    x[0] = 0.6 * x[0] + 0.1
    assert task.truth(x)[0] == task.truth(x)[1]
    assert task.valid(x).tolist() == [False, True]
    x[0, 3, 2] = torch.nan
    assert task.truth(x).isnan().tolist() == [True, False]
    assert task.valid(x).tolist() == [False, True]


def test_the_truth_is_the_shrunk_table(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    truth = pd.Series(task.truth(task.space.encode(raw.sequence.to_list())).tolist(), index=raw.sequence)
    y = raw.set_index("sequence").y
    assert truth.min() > y.min()
    assert truth.max() == pytest.approx(2.996, abs=0.001)
    assert truth.corr(y) == pytest.approx(0.9625, abs=0.0005)
    # one replicate, no core, and neighbours that average 0.67: an artefact
    assert y["TGCGTTTAA"] == 3.108
    assert truth["TGCGTTTAA"] < 0.7
    # a strong core among its like stays high
    assert truth["TAGGAGTAA"] > 2.9


def test_fewer_of_the_best_rest_on_one_replicate(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    truth = task.truth(task.space.encode(raw.sequence.to_list()))
    single = torch.tensor((raw.y_var == 0.051247).to_list())
    measured = torch.tensor(raw.y.to_list()).argsort(descending=True, stable=True)[:128]
    assert int(single[measured].sum()) == 88  # 69 %
    assert int(single[truth.argsort(descending=True)[:128]].sum()) <= 60


def test_normalise_is_the_identity(task: ShineDalgarno) -> None:
    assert task.normalise(torch.tensor([0.5, 2.0])).tolist() == [0.5, 2.0]


def test_noise_is_added_to_labels_and_told_in_the_variance(task: ShineDalgarno) -> None:
    noisy, clean = ShineDalgarnoSpec(noise=0.5).build(1).offline(), task.offline()
    added = noisy.y - clean.y
    # 244,701 draws: the sd is known to 0.14 %
    assert float(added.std()) == pytest.approx(0.5 * clean.std, rel=0.01)
    assert float(added.mean()) == pytest.approx(0, abs=0.01 * clean.std)
    assert noisy.variance is not None
    assert clean.variance is not None
    assert torch.allclose(noisy.variance - clean.variance, torch.tensor((0.5 * clean.std) ** 2), rtol=1e-3)


def test_subsamples_follow_the_seed_and_keep_labels() -> None:
    complete, small, again, other = (
        ShineDalgarnoSpec(noise=0.5, n=n).build(seed) for n, seed in ((None, 1), (300, 1), (300, 1), (300, 2))
    )
    labels = dict(zip(complete.space.decode(complete.offline().x), complete.offline().y.tolist(), strict=True))
    designs = small.space.decode(small.offline().x)
    assert len(set(designs)) == 300
    assert [labels[design] for design in designs] == small.offline().y.tolist()
    assert torch.equal(small.offline().x, again.offline().x)
    assert designs != other.space.decode(other.offline().x)


def test_more_designs_than_there_are_is_refused() -> None:
    with pytest.raises(SpecError, match=r"250,000 .*cannot be drawn[\s\S]*task\.n[\s\S]*244,701 designs lie at or"):
        ShineDalgarnoSpec(n=250_000).build(0)


def test_the_pretraining_set_is_the_named_one(raw: pd.DataFrame, task: ShineDalgarno) -> None:
    assert task.space.decode(task.unlabelled()) == raw.sequence.to_list()
    below = ShineDalgarnoSpec(unlabelled="offline", n=100).build(0)
    assert torch.equal(below.unlabelled(), task.offline().x)
    assert "negative entropy" in task.notes[-1]
    assert "away from the best" in below.notes[-1]


def test_the_fingerprint_follows_what_determines_the_data(task: ShineDalgarno) -> None:
    assert ShineDalgarnoSpec().build(7).fingerprint() == task.fingerprint()
    others: list[Callable[[], ShineDalgarno]] = [
        lambda: ShineDalgarnoSpec(cap=0.4).build(0),
        lambda: ShineDalgarnoSpec(n=100).build(0),
        lambda: ShineDalgarnoSpec(n=100).build(1),
        lambda: ShineDalgarnoSpec(noise=0.1).build(0),
        lambda: ShineDalgarnoSpec(unlabelled="offline").build(0),
    ]
    assert len({build().fingerprint() for build in others} | {task.fingerprint()}) == 6


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "dmsc_9mer.csv.gz"
    damaged.write_bytes(gzip.compress(b"sequence,y,y_var\nAAAAAAAAA,9,1\n"))
    with pytest.raises(DataError, match=r"landscape is damaged[\s\S]*dmsc_9mer[\s\S]*sha256[\s\S]*install"):
        module.read_landscape(damaged)


def test_source_and_licence_travel_with_the_data(task: ShineDalgarno) -> None:
    readme = (files("braid_tasks") / "data" / "shine_dalgarno" / "README.md").read_text()
    assert module.SHA256 in readme
    assert "10.1101/gr.260182.119" in readme
    assert "10.1101/gr.260182.119" in task.notes[0]
