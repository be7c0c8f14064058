"""From kernel matrices to the posterior, in closed form: exact, or variational on inducing designs. All float64.

Both are returned in one form. With k the kernel values between a design and the rows (data or inducing designs),

    mean(x) = k·weights,    var(x) = k(x, x) − ‖root·k‖²
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import BraidError

JITTER = 1e-9
"""Added to the diagonal of the inducing designs' kernel, relative to its mean; never raised. The bound stays a bound:
it is that of inducing variables with so much noise. The exact posterior needs none, since noise has a lower limit."""


@dataclass(frozen=True)
class Solution:
    """The posterior of zero-mean data: ``weights`` (m), ``root`` (m, m), and log p(y), or a lower bound of it."""

    weights: Float[Tensor, " m"]
    root: Float[Tensor, "m m"]
    evidence: float


@dataclass(frozen=True)
class Block:
    """Some of the data: kernel ``cross`` to the inducing designs, prior variance, noise variance and y − m."""

    cross: Float[Tensor, "m n"]
    prior: Float[Tensor, " n"]
    noise: Float[Tensor, " n"]
    residual: Float[Tensor, " n"]


def cholesky(matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The lower factor. Raises :class:`BraidError` where there is none; no jitter is added in silence."""
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) or not bool(factor.diagonal().isfinite().all()):
        raise BraidError(
            "the covariance matrix of the designs cannot be factorised",
            where=f"Gaussian process on {len(matrix)} designs",
            why="it is not positive definite in float64"
            if bool(matrix.isfinite().all())
            else "it holds NaN or infinite values",
            fix='look for infinite or extreme numbers among the designs, or use kernel = "matern", which is better '
            "conditioned",
        )
    return factor


def log_density(factor: Float[Tensor, "n n"], residual: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """log N(residual; 0, LLᵀ): the log marginal likelihood (Rasmussen & Williams 2006, eq. 2.30)."""
    white = torch.linalg.solve_triangular(factor, residual[:, None], upper=False)
    half_log_det = factor.diagonal().log().sum()
    value: Tensor = -0.5 * white.square().sum() - half_log_det - 0.5 * len(residual) * math.log(2 * math.pi)
    return value


def exact(kernel: Float[Tensor, "n n"], noise: Float[Tensor, " n"], residual: Float[Tensor, " n"]) -> Solution:
    """The posterior given all data (Rasmussen & Williams 2006, eq. 2.25, 2.26): root = L⁻¹, LLᵀ = K + Λ."""
    factor = cholesky(kernel + noise.diag())
    eye = torch.eye(len(noise), dtype=kernel.dtype, device=kernel.device)
    root = torch.linalg.solve_triangular(factor, eye, upper=False)
    return Solution(root.T @ (root @ residual), root, float(log_density(factor, residual)))


def sparse(kernel: Float[Tensor, "m m"], blocks: Iterable[Block]) -> Solution:
    """The best variational posterior on inducing designs, in one pass over the data (Titsias 2009, eq. 9, 10).

    With Kzz = LLᵀ, A = L⁻¹KzxΛ^(−½) and AAᵀ = UDUᵀ, B = I + AAᵀ: weights = L⁻ᵀB⁻¹AΛ^(−½)(y − m) and
    root = (I − B⁻¹)^½L⁻¹ = (D/(I + D))^½UᵀL⁻¹, which joins −kᵀKzz⁻¹k and +kᵀΣ⁻¹k without cancellation.
    """
    size = len(kernel)
    factor = cholesky(kernel + JITTER * kernel.diagonal().mean() * torch.eye(size, device=kernel.device))
    gram, pull = torch.zeros_like(kernel), torch.zeros_like(kernel[0])
    free = 0.0  # of the bound: what does not depend on the inducing designs
    for block in blocks:
        scale = block.noise.sqrt()
        A = torch.linalg.solve_triangular(factor, block.cross / scale, upper=False)
        white = block.residual / scale
        gram.addmm_(A, A.T)
        pull += A @ white
        free -= float(0.5 * (white.square() + (2 * math.pi * block.noise).log() + block.prior / block.noise).sum())
    D, U = torch.linalg.eigh(gram)
    D = D.clamp(min=0)
    inner, back = U.T @ pull, torch.linalg.solve_triangular(factor.T, U, upper=True)
    gained = 0.5 * (inner.square() / (1 + D) - D.log1p() + D).sum()  # log det B, and the trace of K − Q
    return Solution(back @ (inner / (1 + D)), (D / (1 + D)).sqrt()[:, None] * back.T, free + float(gained))
