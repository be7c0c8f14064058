"""Tests of the interfaces' own arithmetic."""
