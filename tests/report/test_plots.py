"""The figures show the rows' own numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from braid_core.report import Group, group_runs, read_runs
from braid_core.report.curves import milestones
from braid_core.report.figures import Plot, plots
from braid_core.report.figures.boxes import boxes
from braid_core.report.figures.canvas import folded
from braid_core.report.figures.frontier import frontier
from braid_core.report.figures.rehearsal import rehearsal
from braid_core.report.figures.scatter import scatter
from braid_core.report.figures.tuning import tuning
from braid_core.report.svg import inline, png, svg
from braid_core.report.theme import ACCENTS, PAPER, REFERENCE, colours

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


def points(axes: Axes, line: int) -> tuple[list[float], list[float]]:
    x, y = axes.lines[line].get_data()
    return [float(value) for value in x], [float(value) for value in y]


def panels(plot: Plot) -> dict[str, Axes]:
    return {axes.get_ylabel(): axes for axes in plot.figure.axes}


def test_the_over_optimisation_curve_runs_from_the_pretrained_model_through_the_milestones(make: Make) -> None:
    folder = make()
    results = json.loads((folder / "results.json").read_text())
    start, last = (row for row in results["rows"] if row["column"] == "raw" and row["method"][0] in "PB")
    rows = [start, *results["history"], last]
    (plot,) = tuning(group(folder))
    found = panels(plot)
    assert list(found) == ["reward (E-score)", "KL (nats)", "designs", "gradient"]
    rewards = found["reward (E-score)"]
    for line, name in enumerate(("truth", "predicted", "conservative")):
        assert points(rewards, line) == ([0, 100, 200, 300, 400], pytest.approx([row[name]["mean"] for row in rows]))
    band = rewards.collections[0].get_paths()[0].vertices
    assert isinstance(band, np.ndarray)
    edges = [row["truth"][q] for row in rows for q in ("q10", "q90")]
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((min(edges), max(edges)))
    assert points(found["designs"], 0)[1] == pytest.approx([row["diversity"] / start["diversity"] for row in rows])


def test_alpha_is_drawn_only_where_it_was_steered(make: Make) -> None:
    (fixed,) = tuning(group(make()))
    (steered,) = tuning(group(make(options={"kl_budget": 4.0})))
    assert "alpha" not in panels(fixed)
    assert points(panels(steered)["alpha"], 0)[1][-1] == pytest.approx(0.05, rel=0.05)


def test_tuning_figures_show_every_seed_and_their_mean_on_one_scale(make: Make) -> None:
    first, second = tuning(group(make(seed=0), make(seed=1), make(label="STRL")))
    assert [len(panels(plot)["KL (nats)"].lines) for plot in (first, second)] == [1, 3]
    one, other = (panels(plot)["reward (E-score)"].get_ylim() for plot in (first, second))
    assert one == other
    assert "thick ones their mean" in second.caption
    assert "thick ones their mean" not in first.caption


def test_without_a_truth_the_tuning_figure_claims_nothing(make: Make) -> None:
    (plot,) = tuning(group(make(truth=False)))
    assert len(panels(plot)["reward (E-score)"].lines) == 2
    assert "not that designs are good" in plot.caption


def test_a_run_of_an_earlier_version_shows_where_tuning_began_and_ended(make: Make) -> None:
    folder = make()
    edit(folder / "results.json", lambda results: [results.pop(name) for name in ("history", "regret", "selection")])
    (plot,) = tuning(group(folder))
    assert points(panels(plot)["reward (E-score)"], 0)[0] == [0, 400]


def test_the_frontier_joins_milestones_and_sets_methods_that_do_not_tune_beside_them(make: Make) -> None:
    single = make(label="Best-of-N", tuned=False)
    edit(single / "results.json", lambda results: results["rows"][-2].update(kl=2.5))
    found = group(make(), single)
    plot = drawn(frontier(found))
    table = milestones(found.members[0])
    paths = {len(line.get_xdata()): line for line in panels(plot)["true (E-score)"].lines if line.get_marker() == "."}
    x, y = paths[5].get_data()
    assert list(x) == pytest.approx([0, 2.1, 3.15, 3.675, 4.2])
    assert list(y) == pytest.approx(table["truth"].tolist())
    ends = {float(np.asarray(line.get_xdata())[-1]): line.get_marker() for line in plot.figure.axes[0].lines}
    assert ends == {0.0: "D", 2.5: "X", 4.2: "o"}  # colour is not all that tells them apart
    assert "no path KL" in plot.caption
    assert "no path KL" not in drawn(frontier(group(make()))).caption
    assert "different oracles" in drawn(frontier(group(make(), make(label="STRL", oracle={"type": "gp"})))).caption


def test_small_tilts_have_room_on_the_frontier(make: Make) -> None:
    axes = drawn(frontier(group(make()))).figure.axes[-1]
    places = axes.transData.transform([(0, 0), (1, 0), (4, 0)])[:, 0]
    assert places[2] - places[0] == pytest.approx(2 * (places[1] - places[0]), rel=0.01)


def test_the_rehearsal_marks_what_was_chosen_and_says_what_it_cannot_promise(make: Make) -> None:
    plot = drawn(rehearsal(group(make(options={"kl_budget": "auto"}, chosen=4.0))))
    (axes,) = plot.figure.axes
    assert points(axes, 0)[0] == pytest.approx([3.6, 3.6])  # the KL that the budget of 4 nats paid
    assert points(axes, 1) == (
        pytest.approx([0.9 * 2**k for k in range(5)]),
        pytest.approx([0.1 + 0.025 * k for k in range(5)]),
    )
    for fact in ("4 nats", "one reward level down", "rank correlation with rewards unseen was 0.61", "cannot promise"):
        assert fact in plot.caption


def test_budgets_that_did_not_fill_the_column_are_open_dots(make: Make) -> None:
    folder = make(options={"kl_budget": "auto"}, chosen=4.0)
    edit(folder / "results.json", lambda results: results["selection"]["rungs"][-1].update(n=20))
    edit(folder / "manifest.json", lambda manifest: manifest["spec"].update(designs=64))
    (axes,) = drawn(rehearsal(group(folder))).figure.axes
    (dots,) = (line for line in axes.lines if line.get_markerfacecolor() == PAPER)
    assert np.asarray(dots.get_xdata()).tolist() == pytest.approx([0.9 * 16])


def test_no_rehearsal_no_figure(make: Make) -> None:
    assert rehearsal(group(make())) is None


def test_methods_that_tune_nothing_have_no_curves(make: Make) -> None:
    assert [plot.name for plot in plots(group(make(tuned=False)))] == ["boxes", "logo", "predicted-vs-true"]
    names = [plot.name for plot in plots(group(make(label="Guidance", tuned=False)))]
    assert names == ["boxes", "logo", "predicted-vs-true"]


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
