"""What a plugin's light half looks like: a frozen, validated description that knows how to build the heavy half.

Specs are data: they hold no tensors, import no torch, and round-trip JSON and TOML to an equal object. A field that
takes a component (``OracleField`` and its siblings) accepts a name, a mapping with ``type`` or a spec object, and
resolves the class through the registry, so that shipped and foreign plugins are named in the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
)

from braid_core.errors import SpecError, nearest

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Backbone, Executor, Objective, Oracle, Space, Task


class Spec(BaseModel):
    """Frozen data that refuses unknown fields; the base of everything a user writes down."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentSpec(Spec, ABC):
    """The description of one plugin component.

    A concrete spec declares ``type: str = "<its registered name>"`` (a plain ``str``, so that the qualified form
    ``"dist:name"`` is accepted too) and its options, each with a default and bounds.
    """

    kind: ClassVar[str]
    type: str


class BackboneSpec(ComponentSpec):
    """Describes a generative backbone (group ``braid.backbones``)."""

    kind: ClassVar[str] = "backbone"

    @abstractmethod
    def build(self, space: Space, device: torch.device) -> Backbone:
        """An untrained backbone for designs of ``space``; called once, at the start of the backbone stage."""


class OracleSpec(ComponentSpec):
    """Describes an uncertainty oracle (group ``braid.oracles``)."""

    kind: ClassVar[str] = "oracle"

    @abstractmethod
    def build(self, space: Space, device: torch.device) -> Oracle:
        """An unfitted oracle for designs of ``space``; called once, at the start of the oracle stage."""


def _scale(value: object) -> float | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise ValueError("give a positive number, or 'auto'")


class ScaledOracleSpec(OracleSpec):
    """An oracle whose penalty is ``c`` times an uncertainty, so that a run can choose ``c`` on offline data.

    ``"auto"`` is replaced by a number before the oracle is built; ``build`` reads it as :attr:`scale`.
    """

    c: Annotated[float | Literal["auto"], BeforeValidator(_scale)] = Field(
        1.0, description="scale of the penalty that is tuned by; 'auto': as much as costs nothing on the offline data"
    )

    @property
    def scale(self) -> float:
        """``c`` as a number. Raises :class:`SpecError` for ``"auto"``."""
        if isinstance(self.c, str):
            raise SpecError(
                "c = 'auto' has to be chosen before the oracle is built",
                where=f"oracle {self.type!r}",
                why="the choice needs data",
                fix="let `run` choose it, or give a number",
            )
        return self.c


class ObjectiveSpec(ComponentSpec):
    """Describes a method that turns a pretrained backbone and an oracle into a sampler (``braid.objectives``)."""

    kind: ClassVar[str] = "objective"

    @abstractmethod
    def build(self) -> Objective:
        """The objective; called once, before the tuning stage."""


class TaskSpec(ComponentSpec):
    """Describes a design task: its offline data, its unlabelled designs and, where there is one, its truth."""

    kind: ClassVar[str] = "task"

    @abstractmethod
    def build(self, seed: int) -> Task:
        """The task; ``seed`` fixes its random split, if it has one."""


class ExecutorSpec(ComponentSpec):
    """Describes where independent cells are computed (group ``braid.executors``)."""

    kind: ClassVar[str] = "executor"
    jobs: PositiveInt = Field(1, description="cells computed at the same time")

    @abstractmethod
    def build(self) -> Executor:
        """The executor; called once, when a bench starts. A single run does not use one."""


BASES: dict[str, type[ComponentSpec]] = {
    base.kind: base for base in (BackboneSpec, OracleSpec, ObjectiveSpec, TaskSpec, ExecutorSpec)
}


def component(kind: str, value: Any) -> ComponentSpec:
    """The spec object that ``value`` means: a name, a mapping with ``type``, or a spec of that ``kind`` already.

    Raises :class:`SpecError` when ``value`` is none of these, and ``PluginError`` when the plugin cannot be had.
    """
    from braid_core.registry.resolve import spec_class

    if isinstance(value, BASES[kind]):
        return value
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise SpecError(
            f"the {kind} is not a component",
            where=kind,
            why=f"got {value!r}",
            fix=f'give a name, a mapping such as {{"type": "NAME", ...}}, or an object derived from '
            f"{BASES[kind].__name__}",
        )
    cls = spec_class(kind, value["type"])
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        raise explain(error, kind) from error


def explain(error: ValidationError, where: str) -> SpecError:
    """The first fault of a spec in words, and the names of further fields at fault; ``where`` is its field or file."""
    faults = [(fault, *_place(error.title, fault["loc"])) for fault in error.errors(include_url=False)]
    first, field, owners = faults[0]
    also = list(dict.fromkeys(name for _, name, _ in faults if name != field))
    more = f" (and {len(also)} more: {', '.join(also)})" if also else ""
    if first["type"] == "extra_forbidden":
        owner = " or ".join(sorted({model.__name__ for model in owners})) or error.title
        known = {name for model in owners for name in model.model_fields}
        return SpecError(
            f"unknown field {field!r}{more}",
            where=where,
            why=f"{owner} has no such field",
            fix=nearest(str(first["loc"][-1]), known),
        )
    if first["type"] == "missing":
        return SpecError(f"the field {field!r} is missing{more}", where=where, fix=f"add {field} = ...")
    # a field that takes one of several forms has a fault for each of them
    told = dict.fromkeys(fault["msg"].removeprefix("Value error, ") for fault, name, _ in faults if name == field)
    message = "; or: ".join(told)
    if not field:
        return SpecError(f"{message}{more}", where=where)
    return SpecError(f"{field} = {first['input']!r} cannot be used{more}", where=where, why=message)


def _place(title: str, loc: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """The dotted name of a fault's place, and the models whose field it is (or would be).

    Follows the annotations from the spec class called ``title`` (an error of pydantic knows no more of it), because
    ``loc`` names the members of a union too, which nobody has written down.
    """
    names: list[str] = []
    within: list[Any] = [cls for cls in _derived(Spec) if cls.__name__ == title]
    owners: list[type[BaseModel]] = []
    for part in loc:
        members = [member for one in within for member in _members(one)]
        if any(len(_members(one)) > 1 for one in within):  # this part says which of them
            named = [member for member in members if getattr(member, "__name__", None) == part]
            within = named or members
            continue
        names.append(str(part))
        owners = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
        within = [inner for member in members for inner in _inside(member, part)]
    return ".".join(names), owners


def _derived(base: type[Spec]) -> set[type[Spec]]:
    return {base}.union(*(_derived(cls) for cls in base.__subclasses__()))


def _members(annotation: Any) -> list[Any]:
    """What ``annotation`` allows, but None, which pydantic does not name."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [one for one in get_args(annotation) if one is not NoneType]
    return [annotation]


def _inside(annotation: Any, part: int | str) -> list[Any]:
    """What is allowed at ``part`` of a model, a mapping or a sequence; empty if that cannot be known."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return [field.annotation] if field else []
    return [one for one in get_args(annotation) if one is not Ellipsis][-1:]


def _resolver(kind: str) -> BeforeValidator:
    return BeforeValidator(lambda value: component(kind, value))


BackboneField = Annotated[SerializeAsAny[BackboneSpec], _resolver("backbone")]
OracleField = Annotated[SerializeAsAny[OracleSpec], _resolver("oracle")]
ObjectiveField = Annotated[SerializeAsAny[ObjectiveSpec], _resolver("objective")]
TaskField = Annotated[SerializeAsAny[TaskSpec], _resolver("task")]
ExecutorField = Annotated[SerializeAsAny[ExecutorSpec], _resolver("executor")]
