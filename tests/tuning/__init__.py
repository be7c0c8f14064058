"""Tests of the rollout and the fine-tuning loop."""
