"""Tests of guidance and of best-of-n."""
