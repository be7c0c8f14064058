"""Tests of the rkhs oracle."""
