"""Tests of the Gaussian-process oracle."""
