"""Tests of finding, naming and refusing plugins."""
