"""Tests of DDOM."""
