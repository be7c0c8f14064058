"""The figures show the rows' own numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from braid_core.report import Group, group_runs, read_runs
from braid_core.report.plots import Plot, boxes, folded, path_kl, plots, scatter, tuning
from braid_core.report.svg import inline, png, svg
from braid_core.report.theme import ACCENTS, REFERENCE, colours

from .fabricate import edit

Make = Callable[..., Path]


def group(*folders: Path) -> Group:
    return group_runs(read_runs(folders)[0])[0]


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


def words(plot: Plot) -> list[str]:
    return [text.get_text() for text in plot.figure.findobj(Text) if isinstance(text, Text)]


def test_boxes_span_the_quantiles_averaged_over_seeds(make: Make) -> None:
    found = group(make(seed=0), make(seed=1))
    (axes,) = drawn(boxes(found)).figure.axes[:1]
    low, high = (np.mean([getattr(e.row.truth, q) for e in found.select("Random", "raw")]) for q in ("q25", "q75"))
    corners = axes.patches[0].get_path().vertices
    assert isinstance(corners, np.ndarray)
    assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx((low, high))


def test_methods_stand_in_the_papers_order_with_the_caption_saying_what_is_drawn(make: Make) -> None:
    plot = drawn(boxes(group(make(), make(label="STRL"), make(label="Best-of-N"))))
    labels = [label.get_text() for label in plot.figure.axes[0].get_yticklabels()]
    assert labels == ["Random", "Offline", "Pretrained", "Best-of-N", "STRL", "BRAID-bootstrap"]
    assert "25–75" in plot.caption
    assert "10–90" in plot.caption


def test_the_published_scale_is_drawn_only_where_it_is_a_straight_line(make: Make) -> None:
    straight, crooked = make(), make()
    edit(crooked / "results.json", lambda results: results["rows"][0]["normalised"].update(q50=0.99))
    assert "on the published scale" in words(drawn(boxes(group(straight))))
    assert "on the published scale" not in words(drawn(boxes(group(crooked))))
    assert "on the published scale" not in words(drawn(boxes(group(make(scale=1.0)))))


def test_without_a_truth_only_predictions_are_drawn_and_called_that(make: Make) -> None:
    found = group(make(truth=False))
    assert scatter(found) is None
    assert "Predicted (not measured)" in drawn(boxes(found)).caption
    assert "predicted reward (E-score)" in words(drawn(boxes(found)))


def test_a_scatter_has_a_panel_a_method_of_its_delivered_designs(make: Make) -> None:
    plot = drawn(scatter(group(make(n=50), make(label="STRL", n=50))))
    panels = [axes for axes in plot.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["Random", "Pretrained", "STRL", "BRAID-bootstrap"]
    assert all(len(axes.collections[0].get_offsets()) == 50 for axes in panels)


def test_a_long_bench_is_thinned(make: Make) -> None:
    plot = drawn(scatter(group(*(make(n=1000, seed=seed) for seed in (0, 1)))))
    assert sum(len(axes.collections[0].get_offsets()) for axes in plot.figure.axes) <= 1800
    assert "at most 600" in plot.caption


def test_tuning_curves_show_every_seed_and_their_mean(make: Make) -> None:
    found = group(make(seed=0), make(seed=1))
    assert len(drawn(tuning(found)).figure.axes[0].lines) == 2 * 3
    assert len(drawn(path_kl(found)).figure.axes[0].lines) == 3
    assert "thick ones their mean" in drawn(tuning(found)).caption


def test_methods_that_tune_nothing_have_no_curves(make: Make) -> None:
    folder = make()
    (folder / "metrics.jsonl").write_text('{"stage": "backbone", "step": 1, "loss": 1.0}\n')
    assert [plot.name for plot in plots(group(folder))] == ["boxes", "predicted-vs-true"]


def test_long_names_are_folded_and_stay_different() -> None:
    names = [f"BRAID-bootstrap (alpha={alpha}, oracle.members=5)" for alpha in (0.05, 0.5)]
    assert folded(names[0]) == "BRAID-bootstrap\n(alpha=0.05,\noracle.members=5)"
    assert folded(names[0]) != folded(names[1])
    assert max(map(len, folded("x" * 200).splitlines())) <= 26


def test_labels_are_data_and_not_formulas_or_markup(make: Make) -> None:
    label = "BRAID $\\frac{1}$ <script>alert(1)</script>"
    for plot in plots(group(make(label=label, unit="$<b>"))):
        text = inline(svg(plot.figure), "x", plot.alt)
        assert "<script" not in text
        assert "<b>" not in text
        assert png(plot.figure).startswith(b"\x89PNG")


def test_an_inline_figure_has_ids_of_its_own_and_follows_the_reader(make: Make) -> None:
    plot = drawn(boxes(group(make())))
    text = inline(svg(plot.figure), "one", plot.alt)
    assert text.startswith("<svg")
    assert 'role="img"' in text
    assert ACCENTS[0] not in text
    assert f"var(--c{ACCENTS[0][1:]})" in text
    assert 'id="one-figure_1"' in text
    assert "<style" not in text


def test_figures_are_reproducible(make: Make) -> None:
    folder = make()
    assert svg(drawn(boxes(group(folder))).figure) == svg(drawn(boxes(group(folder))).figure)


def test_braid_has_the_first_colour_and_references_are_grey() -> None:
    found = colours(["Random", "Pretrained (width=8)", "STRL", "BRAID-gp"])
    assert found == {
        "Random": REFERENCE,
        "Pretrained (width=8)": REFERENCE,
        "STRL": ACCENTS[1],
        "BRAID-gp": ACCENTS[0],
    }
