"""Tests of the contracts: a correct component passes, and each fault is found by the test that is for it."""
