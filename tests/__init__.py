"""The type checker that jaxtyping applies to every module during tests, so that shapes are enforced."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

# beartype cannot resolve `Self` under an import hook, so it is not checked.
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: Any})))
