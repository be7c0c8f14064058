"""Tests of the bootstrap oracle."""
