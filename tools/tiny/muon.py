"""Muon for the wide matrices, AdamW for all other weights."""

from typing import Any

import torch
from torch import Tensor

#: a matrix with fewer rows or columns is left to AdamW: those lead into the model and out of it
WIDE = 96
#: of the polynomial that draws all singular values towards 1 (Keller Jordan's)
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Both in one, so that a checkpoint holds one state. `lr` of every group is set by who trains: `scale` times the
    rate in the first group (matrices), the rate itself in the second."""

    def __init__(self, parameters: list[Tensor], *, scale: float = 10.0, decay: float = 0.01) -> None:
        matrices = [weight for weight in parameters if weight.ndim == 2 and min(weight.shape) >= WIDE]
        known = {id(weight) for weight in matrices}
        others = [weight for weight in parameters if id(weight) not in known]
        groups = [
            {"params": matrices, "wide": True, "scale": scale, "decay": decay},
            {"params": others, "wide": False, "scale": 1.0, "decay": decay},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            rate = group["lr"] * group["scale"]
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if rate and weights:
                torch._foreach_mul_(weights, 1 - rate * group["decay"])
            if group["wide"]:
                self._orthogonal(weights, rate)
            else:
                self._adam(weights, rate)

    def _moment(self, weight: Tensor, name: str) -> Tensor:
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight)
        return state[name]

    def _orthogonal(self, weights: list[Tensor], rate: float) -> None:
        """Matrices of one shape are worked on together."""
        shapes: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            shapes.setdefault(weight.shape, []).append(weight)
        for shape, group in shapes.items():
            moments = [self._moment(weight, "exp_avg") for weight in group]
            gradients = [weight.grad for weight in group]
            torch._foreach_lerp_(moments, gradients, 0.05)
            steps = torch.stack(torch._foreach_lerp(gradients, moments, 0.95))
            size = max(1.0, shape[0] / shape[1]) ** 0.5
            for weight, step in zip(group, orthogonal(steps), strict=True):
                weight.add_(step, alpha=-rate * size)

    def _adam(self, weights: list[Tensor], rate: float) -> None:
        first = [self._moment(weight, "exp_avg") for weight in weights]
        second = [self._moment(weight, "exp_avg_sq") for weight in weights]
        for weight in weights:
            self.state[weight]["step"] = self.state[weight].get("step", torch.zeros(())) + 1
        gradients = [weight.grad for weight in weights]
        torch._foreach_lerp_(first, gradients, 0.1)
        torch._foreach_mul_(second, 0.97)
        torch._foreach_addcmul_(second, gradients, gradients, 0.03)
        for weight, mean, square in zip(weights, first, second, strict=True):
            count = float(self.state[weight]["step"])
            root = (square / (1 - 0.97**count)).sqrt_().add_(1e-8)
            weight.addcdiv_(mean, root, value=-rate / (1 - 0.9**count))


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns): the nearest matrices whose singular values are all about 1."""
    wide = matrices.shape[1] <= matrices.shape[2]
    found = matrices if wide else matrices.mT
    found = found / (found.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = found @ found.mT
        found = _A * found + (_B * square + _C * square @ square) @ found
    return found if wide else found.mT
