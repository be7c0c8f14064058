"""What objectives share: the rollout and the fine-tuning loop."""
