"""A learned truth for measured libraries: trained on what was set aside, of another kind than the methods' oracles.

Each of five members leaves one fold of whole families out and is the mean of two models of counted features: gradient
boosted trees, and a ridge regression. Neither is a network or a kernel on letters, so that an error of an oracle is
seldom an error here too. Predictions stay within the range of the measured rewards: nothing can be found that is better
than the best that was measured, and far from all of it the truth is a guess. See docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

FOLDS, SEED = 5, 0
TREES = {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 15, "max_features": 0.3, "l2_regularization": 1.0}
PENALTY = 7.0
"""Of the ridge regression on standardised features, for each feature."""
KEPT = 4
"""Fitted evaluators that a process keeps: the cells of a bench share them."""

Features = Callable[[Integer[np.ndarray, "n l"]], tuple[np.ndarray, np.ndarray]]
"""Of letters: what the trees see, and what the regression sees."""


@dataclass(frozen=True)
class Quality:
    """How members did on the folds that they had not seen: share of variance explained, rank correlation, error."""

    r2: float
    spearman: float
    rmse: float


class Evaluator:
    """Trained on ``letters`` and their rewards ``y``; rows of one ``group`` are in one fold."""

    def __init__(
        self,
        letters: Integer[np.ndarray, "n l"],
        y: Float[np.ndarray, " n"],
        group: Int[np.ndarray, " n"],
        features: Features,
    ) -> None:
        from sklearn.model_selection import GroupKFold

        self.features, self.low, self.high = features, float(y.min()), float(y.max())
        seen = features(letters)
        unseen = np.empty(len(y))
        self.members = []
        for train, test in GroupKFold(FOLDS).split(letters, y, group):
            member = _fit(seen[0][train], seen[1][train], y[train])
            unseen[test] = self._clipped(member, *(part[test] for part in seen))
            self.members.append(member)
        self.quality = _quality(y, unseen)

    def __call__(self, letters: Integer[np.ndarray, "b l"]) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """The members' mean, which is the truth, and its standard error.

        Members share most of their data and so differ too little: the error is that of the jackknife which leaves
        folds out, √((K − 1)/K · Σ(m_k − m̄)²) (Efron & Stein, Ann. Stat. 9, 586-596, 1981). It knows what other
        measurements would have changed, not what no such model could have learned.
        """
        seen = self.features(letters)
        each = np.stack([self._clipped(member, *seen) for member in self.members])
        return each.mean(0), np.sqrt((FOLDS - 1) * each.var(0))

    def _clipped(self, member: tuple[Any, Any], *seen: np.ndarray) -> Float[np.ndarray, " b"]:
        mean = sum(model.predict(part) for model, part in zip(member, seen, strict=True)) / 2
        return np.asarray(np.clip(mean, self.low, self.high))


def _fit(for_trees: np.ndarray, for_ridge: np.ndarray, y: Float[np.ndarray, " n"]) -> tuple[Any, Any]:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trees = HistGradientBoostingRegressor(**TREES, early_stopping=False, random_state=SEED)
    ridge = make_pipeline(StandardScaler(), Ridge(PENALTY * for_ridge.shape[1]))
    return trees.fit(for_trees, y), ridge.fit(for_ridge.astype(np.float64), y)


def _quality(y: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> Quality:
    from scipy.stats import spearmanr

    mse = float(np.mean((y - predicted) ** 2))
    return Quality(1 - mse / float(y.var()), float(spearmanr(y, predicted).statistic), mse**0.5)


_fitted: dict[str, Evaluator] = {}


def evaluator(
    letters: Integer[np.ndarray, "n l"],
    y: Float[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    features: Features,
) -> Evaluator:
    """The evaluator of these data; fitted once in a process, in a few seconds for 10,000 designs."""
    digest = sha256(f"{features.__module__}.{features.__qualname__}".encode())
    for column in (letters, y, group):
        digest.update(np.ascontiguousarray(column).data)
    key = digest.hexdigest()
    if key not in _fitted:
        while len(_fitted) >= KEPT:
            del _fitted[next(iter(_fitted))]
        _fitted[key] = Evaluator(letters, y, group, features)
    return _fitted[key]
