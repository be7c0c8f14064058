"""From a spec to a run folder: split, stages, store, metrics."""
