"""The TF-Bind-8 task against its raw file, read here with pandas alone."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import braid_tasks.tf_bind_8 as module
import numpy as np
import pandas as pd
import pytest
import torch
from braid_tasks import TFBind8Spec
from braid_tasks.tf_bind_8 import TFBind8

from braid_core.errors import DataError, SpecError


def reverse_complement(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    with as_file(module.packaged()) as path:
        return pd.read_csv(path)


@pytest.fixture(scope="module")
def task() -> TFBind8:
    return TFBind8Spec().build(0)


def design_bench_rows(raw: pd.DataFrame) -> pd.DataFrame:
    """Both strand columns of the source stacked, as Design-Bench lists them: every palindrome appears twice."""
    palindrome = raw.sequence.map(reverse_complement) == raw.sequence
    return pd.concat([raw, raw[palindrome]])


def test_the_visible_half_is_design_benchs(raw: pd.DataFrame, task: TFBind8) -> None:
    rows = design_bench_rows(raw)
    assert len(rows) == 65_792
    visible = rows[rows.e_score <= np.percentile(rows.e_score, 50)]
    assert len(visible) == 32_898
    data = task.offline()
    assert set(task.space.decode(data.x)) == set(visible.sequence)
    assert len(data) == visible.sequence.nunique() == 32_768
    assert float(task.normalise(data.y).max()) == pytest.approx(0.43929617, abs=1e-7)


@pytest.mark.parametrize("cap", [0.1, 0.95, 1.0])
def test_other_caps_follow_the_same_rule(raw: pd.DataFrame, cap: float) -> None:
    rows = design_bench_rows(raw)
    visible = rows[rows.e_score <= np.quantile(rows.e_score, cap)]
    task = TFBind8Spec(cap=cap).build(0)
    assert set(task.space.decode(task.offline().x)) == set(visible.sequence)


def test_labels_are_the_measurements(raw: pd.DataFrame, task: TFBind8) -> None:
    scores = dict(zip(raw.sequence, raw.e_score, strict=True))
    data = task.offline()
    expected = [scores[design] for design in task.space.decode(data.x)]
    assert data.y.tolist() == torch.tensor(expected, dtype=torch.float32).tolist()


def test_truth_is_the_complete_table(raw: pd.DataFrame, task: TFBind8) -> None:
    x = task.space.encode(raw.sequence.to_list())
    assert task.truth(x).tolist() == torch.tensor(raw.e_score.to_list(), dtype=torch.float32).tolist()
    best = task.truth(task.space.encode(["AGGTATCA", "TGATACCT"]))
    assert best.tolist() == pytest.approx([0.49105, 0.49105])
    assert task.normalise(best).tolist() == [1.0, 1.0]


def test_the_published_scale_is_the_files_range(raw: pd.DataFrame) -> None:
    assert (raw.e_score.min(), raw.e_score.max()) == (module.LOWEST, module.HIGHEST)


def test_truth_reads_the_most_likely_letters(task: TFBind8) -> None:
    x = task.space.encode(["AGGTATCA", "AGGTATCA"])
    x[0] = 0.6 * x[0] + 0.1
    assert task.truth(x)[0] == task.truth(x)[1]
    assert task.valid(x).tolist() == [False, True]
    x[0, 3, 2] = torch.nan
    assert task.truth(x).isnan().tolist() == [True, False]


def test_both_strands_share_label_and_group(task: TFBind8) -> None:
    data = task.offline()
    assert data.group is not None
    row = {design: k for k, design in enumerate(task.space.decode(data.x))}
    other = [row[reverse_complement(design)] for design in row]
    assert torch.equal(data.group, data.group[other])
    assert torch.equal(data.y, data.y[other])
    pairs = {min(design, reverse_complement(design)) for design in row}
    assert len(torch.unique(data.group)) == len(pairs)


@pytest.mark.parametrize("options", [{}, {"n": 500}, {"n": 501, "noise": 0.3}])
def test_no_molecule_is_on_both_sides_of_a_split(options: dict[str, Any]) -> None:
    task = TFBind8Spec(**options).build(3)
    first, second = task.offline().split(0.2, torch.Generator().manual_seed(0))
    strands = set(task.space.decode(first.x))
    assert strands.isdisjoint(reverse_complement(design) for design in task.space.decode(second.x))


def test_nothing_above_the_cap_is_handed_on(raw: pd.DataFrame, task: TFBind8) -> None:
    data = task.offline()
    cap = np.percentile(design_bench_rows(raw).e_score, 50)
    assert float(data.y.max()) <= np.float32(cap)
    for column in (data.x, data.y, data.group):
        assert column is not None
        # a view would carry the complete landscape in its storage
        assert column.untyped_storage().nbytes() == column.numel() * column.element_size()


def test_the_truth_is_loaded_only_when_asked_for() -> None:
    task = TFBind8Spec().build(0)
    task.offline(), task.unlabelled(), task.fingerprint()
    held = [value for value in vars(task).values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    assert held == []
    task.truth(task.unlabelled()[:1])
    assert len(vars(task)["_truth"]) == 65_536


def test_subsamples_are_whole_molecules_and_follow_the_seed(task: TFBind8) -> None:
    sampled = {seed: TFBind8Spec(n=1001).build(seed) for seed in (0, 1)}
    for small in sampled.values():
        designs = set(small.space.decode(small.offline().x))
        assert len(designs) == len(small.offline()) in (1000, 1001)
        assert designs == {reverse_complement(design) for design in designs}
        assert designs <= set(task.space.decode(task.offline().x))
    assert sampled[0].space.decode(sampled[0].offline().x) != sampled[1].space.decode(sampled[1].offline().x)
    again = TFBind8Spec(n=1001).build(0)
    assert torch.equal(again.offline().x, sampled[0].offline().x)


def test_more_designs_than_there_are_is_refused() -> None:
    with pytest.raises(SpecError, match=r"40,000 .*cannot be drawn[\s\S]*task\.n[\s\S]*32,768 designs lie at or below"):
        TFBind8Spec(n=40_000).build(0)
    with pytest.raises(SpecError, match=r"4 offline .*cannot be drawn[\s\S]*task\.cap[\s\S]*a larger cap"):
        TFBind8Spec(cap=1e-6).build(0)


def test_noise_has_the_asked_size_and_is_shared_by_strands(task: TFBind8) -> None:
    noisy = TFBind8Spec(noise=0.5).build(1).offline()
    added = noisy.y - task.offline().y
    group = noisy.group
    assert group is not None
    first = {int(g): k for k, g in reversed(list(enumerate(group.tolist())))}
    once = torch.tensor(list(first.values()))
    assert torch.equal(noisy.y, noisy.y[[first[int(g)] for g in group]])
    # 16,449 independent draws: the sd is known to 0.55 %, the mean to 0.004 offline sds
    assert float(added[once].std()) == pytest.approx(0.5 * task.offline().std, rel=0.03)
    assert float(added[once].mean()) == pytest.approx(0, abs=0.02 * task.offline().std)
    assert noisy.variance is None


def test_a_subsample_keeps_the_labels_of_the_complete_set() -> None:
    complete, small = (TFBind8Spec(noise=0.5, n=n).build(1) for n in (None, 300))
    labels = dict(zip(complete.space.decode(complete.offline().x), complete.offline().y.tolist(), strict=True))
    assert [labels[design] for design in small.space.decode(small.offline().x)] == small.offline().y.tolist()


def test_the_pretraining_set_is_the_named_one(task: TFBind8) -> None:
    everything = task.unlabelled()
    assert everything.shape == (65_536, 8, 4)
    assert len(set(task.space.decode(everything))) == 65_536
    half = TFBind8Spec(unlabelled="offline", n=100).build(0)
    assert torch.equal(half.unlabelled(), task.offline().x)
    assert "negative entropy" in task.notes[2]
    assert "poor binders" in half.notes[2]


def test_the_fingerprint_follows_what_determines_the_data(task: TFBind8) -> None:
    assert TFBind8Spec().build(7).fingerprint() == task.fingerprint()
    others: list[Callable[[], TFBind8]] = [
        lambda: TFBind8Spec(cap=0.4).build(0),
        lambda: TFBind8Spec(n=100).build(0),
        lambda: TFBind8Spec(n=100).build(1),
        lambda: TFBind8Spec(noise=0.1).build(0),
        lambda: TFBind8Spec(unlabelled="offline").build(0),
    ]
    assert len({build().fingerprint() for build in others} | {task.fingerprint()}) == 6


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "six6_ref_r1.csv.gz"
    damaged.write_bytes(gzip.compress(b"sequence,e_score\nAAAAAAAA,9\n"))
    with pytest.raises(DataError, match=r"landscape is damaged[\s\S]*six6_ref_r1[\s\S]*sha256[\s\S]*install"):
        module.read_scores(damaged)
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*No such file"):
        module.read_scores(tmp_path / "missing.csv.gz")


def test_source_and_licence_travel_with_the_data(task: TFBind8) -> None:
    readme = (files("braid_tasks") / "data" / "tf_bind_8" / "README.md").read_text()
    assert module.SHA256 in readme
    assert "10.1126/science.aad2257" in readme
    assert "10.1126/science.aad2257" in task.notes[0]
