"""Tests of the masked backbone."""
