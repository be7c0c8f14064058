"""The correct oracle with one fault each, and the tests of the contract that must find it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Space, State, Tokens
from braid_core.registry.spec import OracleSpec
from braid_core.testing import OracleContract
from tests.testing.linear import LinearOracle, LinearPosterior, LinearSpec

STRANDED = Tokens("ACGT", 4, ("reverse_complement",))


class Sound(LinearOracle):
    """No fault."""

    found_by: ClassVar[set[str]] = set()


class CentredCovariance(LinearOracle):
    """The covariance in place of the sum: more data do not shrink it."""

    found_by: ClassVar = {"test_repeated_measurements_shrink_the_penalty"}

    def inverse(self, gram: Tensor, phi: Tensor) -> Tensor:
        centred = phi - phi.mean(0)
        inverse: Tensor = torch.linalg.inv(0.01 * torch.eye(len(gram)) + centred.T @ centred / len(phi))
        return inverse


class Detached(LinearOracle):
    """Constant for whoever follows the gradient."""

    found_by: ClassVar = {"test_gradients_at_designs", "test_gradients_between_designs"}

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).detach()


class HalfDetached(LinearOracle):
    """The gradient of the mean without that of the penalty."""

    found_by: ClassVar = {"test_gradients_at_designs", "test_gradients_between_designs"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, doubt=posterior.doubt.detach())


class Rounded(LinearOracle):
    """Letters by argmax, with a straight-through gradient."""

    found_by: ClassVar = {
        "test_gradients_at_designs",
        "test_gradients_between_designs",
        "test_relaxed_designs_are_continuous",
    }

    def features(self, x: Tensor) -> Tensor:
        letters = torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1])
        return super().features(letters + x - x.detach())


class Ignorant(LinearOracle):
    """One penalty for all designs, although it shrinks with their number."""

    found_by: ClassVar = {"test_penalty_depends_on_the_design", "test_penalty_grows_far_from_the_data"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        anywhere = torch.full_like(x, 1 / x.shape[-1])
        return replace(super().posterior(x), doubt=super().posterior(anywhere).doubt)


class Optimist(LinearOracle):
    """The wrong sign."""

    found_by: ClassVar = {
        "test_penalty_is_never_negative",
        "test_repeated_measurements_shrink_the_penalty",
        "test_penalty_grows_far_from_the_data",
        "test_c_scales_the_penalty_alone",
    }

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, doubt=-posterior.doubt)


class GlobalNoise(LinearOracle):
    """A start that is drawn from the global generator."""

    found_by: ClassVar = {"test_fit_is_reproducible"}

    def fit(self, data: LabelledDesigns, *others: Any) -> None:
        super().fit(data, *others)
        self.weight = self.weight + 1e-3 * torch.randn(len(self.weight))


class InPlace(LinearOracle):
    """Standardises the table that belongs to others."""

    found_by: ClassVar = {"test_fit_is_reproducible"}

    def fit(self, data: LabelledDesigns, *others: Any) -> None:
        super().fit(data, *others)
        data.y.sub_(data.y.mean())


class Lucky(LinearOracle):
    """Learns nothing with some seeds."""

    found_by: ClassVar = {"test_any_seed_is_accepted"}

    def fit(self, data: LabelledDesigns, generator: torch.Generator, *others: Any) -> None:
        super().fit(data, generator, *others)
        if float(torch.rand((), generator=generator)) < 0.7:
            self.weight = -self.weight


class WrongColumn(LinearOracle):
    """Takes the variances for the rewards."""

    found_by: ClassVar = {"test_variances_and_groups_are_accepted"}

    def fit(self, data: LabelledDesigns, *others: Any) -> None:
        super().fit(LabelledDesigns(data.x, data.y if data.variance is None else data.variance), *others)


class Forgetful(LinearOracle):
    """Loses the scale between two processes."""

    found_by: ClassVar = {"test_saved_and_loaded_is_the_same", "test_c_scales_the_penalty_alone"}

    def learned(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in super().learned().items() if name != "scale"}


class NotJson(LinearOracle):
    """A tensor where JSON is expected."""

    found_by: ClassVar = {"test_saved_and_loaded_is_the_same"}

    def state(self) -> State:
        return State(super().state().tensors, {"scale": self.scale})


class Aliased(LinearOracle):
    """Hands out its own memory."""

    found_by: ClassVar = {"test_state_is_a_copy"}

    def state(self) -> State:
        return State(self.learned())


class Trainable(LinearOracle):
    """Still collects gradients when it is used."""

    found_by: ClassVar = {"test_fitted_takes_no_gradient"}

    def fit(self, data: LabelledDesigns, *others: Any) -> None:
        super().fit(data, *others)
        self.weight.requires_grad_()


class BatchStatistics(LinearOracle):
    """Every design in the light of the others in the batch."""

    found_by: ClassVar = {"test_rows_are_independent"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, location=posterior.mean + 0.05 * (posterior.mean - posterior.mean.mean()))


class Sampling(LinearOracle):
    """Samples in place of moments."""

    found_by: ClassVar = {
        "test_posterior_is_deterministic",
        "test_fit_is_reproducible",
        "test_saved_and_loaded_is_the_same",
    }

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, location=posterior.mean + 1e-5 * torch.randn(len(x)))


class DoublePrecision(LinearOracle):
    """Forgets the designs' dtype."""

    found_by: ClassVar = {"test_shapes"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, doubt=posterior.doubt.double())


class OneStrand(LinearOracle):
    """Ignores that both strands are one molecule."""

    found_by: ClassVar = {"test_symmetric_forms_agree"}

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1).double(), torch.ones(len(x), 1)], 1)


class Upside(LinearOracle):
    """Maximises what should be minimised."""

    found_by: ClassVar = {
        "test_it_learns",
        "test_any_seed_is_accepted",
        "test_variances_and_groups_are_accepted",
    }

    def fit(self, data: LabelledDesigns, *others: Any) -> None:
        super().fit(data, *others)
        self.weight = -self.weight


class AbsoluteNoise(LinearOracle):
    """A noise level that knows nothing of the rewards' units."""

    found_by: ClassVar = {"test_units_are_followed"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, doubt=posterior.doubt / self.scale.float())


class Credulous(LinearOracle):
    """Takes any table."""

    found_by: ClassVar = {"test_one_design_is_refused", "test_constant_rewards_are_refused"}

    def check(self, data: LabelledDesigns) -> None:
        pass


class Rescaled(LinearOracle):
    """Tells c in its standard deviation, too."""

    found_by: ClassVar = {"test_c_scales_the_penalty_alone"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return replace(posterior, doubt=posterior.doubt * self.c)


class KeptPosterior(LinearPosterior):
    @cached_property
    def kept(self) -> Tensor:
        return self.doubt + 0

    @property
    def std(self) -> Tensor:
        return self.kept


class Kept(LinearOracle):
    """Keeps what it was first asked without a gradient."""

    found_by: ClassVar = {"test_a_look_without_gradients_does_not_cut_them"}

    def posterior(self, x: Tensor) -> LinearPosterior:
        posterior = super().posterior(x)
        return KeptPosterior(posterior.location, posterior.doubt, self.c)


FAULTS = [*LinearOracle.__subclasses__()]


class _Contract(OracleContract):
    spec = LinearSpec()
    spaces = (STRANDED,)
    distance_aware = True
    oracle_class: ClassVar[type[LinearOracle]]

    def build(self, space: Space, spec: OracleSpec | None = None) -> LinearOracle:
        return self.oracle_class(space, LinearSpec.model_validate(spec or self.spec).scale)


for fault in FAULTS:
    globals()[f"Test{fault.__name__}"] = type(f"Test{fault.__name__}", (_Contract,), {"oracle_class": fault})


class TestExcused(_Contract):
    """A failure is expected that does not happen any more, and a capability is not declared."""

    oracle_class = Sound
    distance_aware = False
    expected_failures: ClassVar = {"test_it_learns[Tokens-ACGT-4-reverse_complement]": "it did not, once"}


class TestExcusedForAReason(_Contract):
    """A fault that is known."""

    oracle_class = CentredCovariance
    expected_failures: ClassVar = {"test_repeated_measurements_shrink_the_penalty": "the published bonus"}


class TestWithoutSpec(OracleContract):
    """Its author forgot the spec."""

    spaces = (STRANDED,)
