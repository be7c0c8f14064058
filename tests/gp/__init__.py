"""Tests of the Gaussian-process oracle."""

import braid_gp.fitting  # noqa: F401  (first of all: it silences what the import of gpytorch warns of)
