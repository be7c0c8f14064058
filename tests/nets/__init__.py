"""Tests of the shared networks and their training."""
