"""How to get the same figures again: commands, versions, machines, seconds, the spec of each method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from braid_core.report.grouping import Group, Member
from braid_core.report.numbers import UNKNOWN, duration, number, significant
from braid_core.report.records import Judged, PromiseFacts


@dataclass(frozen=True)
class Provenance:
    """Formatted for the page. ``runs`` are rows under ``headings``; ``oracles`` under those of the page."""

    headings: tuple[str, ...]
    runs: list[tuple[str, ...]]
    commands: list[str]
    plugins: list[tuple[str, str, str]]
    versions: list[tuple[str, str]]
    hardware: list[tuple[str, str]]
    specs: list[tuple[str, str]]
    oracles: list[tuple[str, ...]]


def provenance(group: Group) -> Provenance:
    """What the manifests of the group's runs say."""
    manifests = [member.run.manifest for member in group.members]
    stages = list(dict.fromkeys(stage for manifest in manifests for stage in manifest.seconds))
    plugins = {
        (str(p.get("type", "")), str(p.get("kind", "")), f"{p.get('distribution', '')} {p.get('version', '')}".strip())
        for manifest in manifests
        for p in manifest.plugins
    }
    return Provenance(
        headings=("run", "method", "seed", "made", *stages),
        runs=[_run(member, stages) for member in group.members],
        commands=list(dict.fromkeys(manifest.command for manifest in manifests if manifest.command)),
        plugins=sorted(plugins, key=lambda plugin: (plugin[1], plugin[0])),
        versions=united(manifest.versions for manifest in manifests),
        hardware=united(manifest.hardware for manifest in manifests),
        specs=_specs(group),
        oracles=_oracles(group),
    )


def _run(member: Member, stages: list[str]) -> tuple[str, ...]:
    manifest = member.run.manifest
    made = str(manifest.created or UNKNOWN).replace("T", " ")[:16]
    seconds = [duration(manifest.seconds.get(stage)) for stage in stages]
    return (member.run.folder.name, member.method, str(member.seed), made, *seconds)


def united(facts: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """One line a key; where the runs differ, every value is named."""
    united: dict[str, dict[str, None]] = {}
    for mapping in facts:
        for key, value in mapping.items():
            united.setdefault(str(key), {})[UNKNOWN if value is None else str(value)] = None
    return [(key, " / ".join(values)) for key, values in united.items()]


def _specs(group: Group) -> list[tuple[str, str]]:
    """The resolved spec of every method, once: seeds of a method differ in nothing else."""
    found: dict[str, str] = {}
    for member in group.members:
        text = json.dumps(member.run.manifest.spec, indent=2, ensure_ascii=False, default=str)
        found.setdefault(member.method, text)
    return list(found.items())


def _oracles(group: Group) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for member in group.members:
        facts = member.run.results.oracle
        if facts:
            promise = facts.promise or PromiseFacts()
            scales = (significant(facts.c), significant(promise.scale), number(promise.floor))
            which = (str(member.seed), *scales)
            parts = {"at random": facts, "of these, liked best": facts.liked}
            if facts.lower:
                parts |= {"better than all seen": facts.lower.better, "liked by who saw less": facts.lower.liked}
            rows += [(member.method, name, *which, *_judged(part)) for name, part in parts.items() if part]
    return rows


def _judged(facts: Judged) -> tuple[str, ...]:
    shares = (number(facts.nll, 2), number(facts.coverage, 2))
    lengths = (number(facts.width), number(facts.slack), number(facts.pinball))
    return (number(facts.rmse), number(facts.spearman, 2), *shares, *lengths, str(facts.n_held_out or UNKNOWN))
