"""Guidance and best-of-n keep what every objective promises."""

from __future__ import annotations

from braid_guidance import BestOfNSpec, GuidanceSpec

from braid_core.testing import ObjectiveContract


class TestLikelihood(ObjectiveContract):
    spec = GuidanceSpec()
    idle = GuidanceSpec(level=0.0)


class TestReward(ObjectiveContract):
    spec = GuidanceSpec(potential="reward", level=2.0, conservative=True)


class TestBestOfN(ObjectiveContract):
    spec = BestOfNSpec(n=4)
    idle = BestOfNSpec(n=1)
    bounds_kl = True
