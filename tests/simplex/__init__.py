"""Tests of the simplex backbone."""
