"""Tests of the Gaussian backbone."""
