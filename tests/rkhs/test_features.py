"""Kernel features against scikit-learn and against the kernel itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from braid_rkhs.features import RESOLVED, FourierFeatures, NystroemFeatures
from sklearn.kernel_approximation import Nystroem, RBFSampler

from braid_core.interfaces import Space, Vectors
from tests.checks import seeded
from tests.rkhs.tables import KINDS, SPACE, SPACES, STRANDED, data, fitted, kernel, own_kernel, relaxed

NARROW = 0.4
close: dict[str, Any] = {"rtol": 0, "atol": 1e-10}


def test_nystroem_features_are_those_of_scikit_learn_up_to_a_rotation() -> None:
    sample, x = data(40, dtype=torch.float64).x, relaxed(20)
    phi = NystroemFeatures.fitted(SPACE, sample, NARROW, 25, 3)(x)
    theirs = Nystroem(kernel="rbf", gamma=NARROW, n_components=25, random_state=0).fit(sample[:25].flatten(1).numpy())
    expected = torch.from_numpy(theirs.transform(x.flatten(1).numpy()))
    assert phi.shape == expected.shape
    torch.testing.assert_close(phi @ phi.T, expected @ expected.T, **close)


def test_fourier_features_are_those_of_scikit_learn() -> None:
    sample, x = data(40, dtype=torch.float64).x + 2, relaxed(20) + 2  # away from 0: the centre must not show
    phi = FourierFeatures.fitted(SPACE, sample, NARROW, 50, 3)(x)
    theirs = RBFSampler(gamma=NARROW, n_components=50, random_state=3).fit(sample.flatten(1).numpy())
    torch.testing.assert_close(phi, torch.from_numpy(theirs.transform(x.flatten(1).numpy())), **close)


@pytest.mark.parametrize("space", SPACES, ids=["plain", "stranded"])
def test_fourier_features_approximate_the_kernel(space: Space) -> None:
    """The error of a mean over d random frequencies is of the order 1/√d."""
    x, errors = relaxed(30), []
    for components in (200, 20_000):
        phi = FourierFeatures.fitted(space, x, NARROW, components, 3)(x)
        errors.append(float((phi @ phi.T - kernel(space, x, x, NARROW)).square().mean().sqrt()))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.5)


@pytest.mark.parametrize("space", SPACES, ids=["plain", "stranded"])
def test_nystroem_features_are_exact_at_landmarks(space: Space) -> None:
    sample, x = data(40, dtype=torch.float64).x, relaxed(20)
    features = NystroemFeatures.fitted(space, sample, NARROW, 40, 3)
    at, elsewhere = features(sample), features(x)
    torch.testing.assert_close(at @ elsewhere.T, kernel(space, sample, x, NARROW), **close)
    torch.testing.assert_close(features.residual(sample, at), torch.zeros(40).double(), **close)


@pytest.mark.parametrize("space", SPACES, ids=["plain", "stranded"])
def test_the_residual_is_what_the_landmarks_leave_out(space: Space) -> None:
    x = relaxed(20)
    features = NystroemFeatures.fitted(space, data(dtype=torch.float64).x, NARROW, 10, 3)
    phi = features(x)
    missing = own_kernel(space, x, NARROW) - phi.square().sum(1)
    assert float(missing.min()) > 0.01
    torch.testing.assert_close(features.residual(x, phi), missing, **close)


def test_directions_that_rounding_would_swamp_are_left_out() -> None:
    """On a line, a wide kernel over 300 landmarks has a handful of directions; the rest is a small residual."""
    x = torch.rand(300, 1, generator=seeded()).double()
    features = NystroemFeatures.fitted(Vectors(1), x, 1.0, 300, 3)
    phi = features(x)
    assert 3 <= phi.shape[1] <= 12
    assert float(features.residual(x, phi).mean()) < 300 * RESOLVED / 10
    assert float(features(x.float()).double().sub(phi).abs().max()) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_both_strands_have_the_same_features(kind: str) -> None:
    oracle, plain = fitted(kind, space=STRANDED), fitted(kind)
    own, other = STRANDED.orbit(relaxed(30, torch.float32))
    torch.testing.assert_close(oracle.features(own), oracle.features(other), rtol=0, atol=1e-5)
    residuals = [oracle.features.residual(x, oracle.features(x)) for x in (own, other)]
    torch.testing.assert_close(*residuals, rtol=0, atol=1e-5)
    assert float((plain.features(own) - plain.features(other)).abs().max()) > 0.01


@pytest.mark.parametrize("kind", ["nystroem", "fourier"])
def test_data_far_from_the_origin_cost_no_precision(kind: str) -> None:
    made = NystroemFeatures if kind == "nystroem" else FourierFeatures
    x = torch.randn(50, 3, generator=seeded()) + 4096
    features = made.fitted(Vectors(3), x, NARROW, 20, 3)
    torch.testing.assert_close(features(x).double(), features(x.double()), rtol=0, atol=1e-5)
    assert np.ptp(features(x).numpy()) > 0.1
