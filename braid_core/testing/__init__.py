"""Conformance suites for authors of plugins: derive a test class, name a spec, inherit its tests. Needs pytest."""

from braid_core.testing.backbone import BackboneContract
from braid_core.testing.objective import ObjectiveContract
from braid_core.testing.oracle import OracleContract

__all__ = ["BackboneContract", "ObjectiveContract", "OracleContract"]
