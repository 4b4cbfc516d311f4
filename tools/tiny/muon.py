"""Muon for the wide matrices, AdamW for all other weights. Nothing that changes is a Python number: a step can be
recorded as a CUDA graph and played again."""

from typing import Any

import torch
from torch import Tensor

#: a matrix with fewer rows or columns is left to AdamW: those lead into the model and out of it
WIDE = 96
#: of the polynomial that draws all singular values towards 1 (Keller Jordan's)
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Both in one, so that a checkpoint holds one state. `rate`, a tensor on the weights' device, is set by who trains:
    a matrix moves by `scale` times as much, the others by the rate itself."""

    def __init__(self, parameters: list[Tensor], *, scale: float = 10.0, decay: float = 0.01) -> None:
        matrices = [weight for weight in parameters if weight.ndim == 2 and min(weight.shape) >= WIDE]
        known = {id(weight) for weight in matrices}
        others = [weight for weight in parameters if id(weight) not in known]
        groups = [
            {"params": matrices, "wide": True, "scale": scale, "decay": decay},
            {"params": others, "wide": False, "scale": 1.0, "decay": decay},
        ]
        super().__init__([group for group in groups if group["params"]], {})
        self.rate = torch.zeros((), device=parameters[0].device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            rate = self.rate * group["scale"]
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            torch._foreach_mul_(weights, 1 - rate * group["decay"])
            if group["wide"]:
                self._orthogonal(weights, rate)
            else:
                self._adam(weights, rate)

    @torch.no_grad()
    def forget(self) -> None:
        """All moments begin anew, in the memory where they are."""
        for state in self.state.values():
            for moment in state.values():
                moment.zero_()

    def _moment(self, weight: Tensor, name: str) -> Tensor:
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight) if name != "step" else torch.zeros((), device=weight.device)
        return state[name]

    def _orthogonal(self, weights: list[Tensor], rate: Tensor) -> None:
        """Matrices of one shape are worked on together."""
        shapes: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            shapes.setdefault(weight.shape, []).append(weight)
        for shape, group in shapes.items():
            moments = [self._moment(weight, "exp_avg") for weight in group]
            gradients = [weight.grad for weight in group]
            torch._foreach_lerp_(moments, gradients, 0.05)
            steps = orthogonal(torch.stack(torch._foreach_lerp(gradients, moments, 0.95)))
            size = max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_sub_(group, list((steps * (rate * size)).unbind()))

    def _adam(self, weights: list[Tensor], rate: Tensor) -> None:
        first = [self._moment(weight, "exp_avg") for weight in weights]
        second = [self._moment(weight, "exp_avg_sq") for weight in weights]
        counts = [self._moment(weight, "step") for weight in weights]
        gradients = [weight.grad for weight in weights]
        torch._foreach_add_(counts, 1.0)
        torch._foreach_lerp_(first, gradients, 0.1)
        torch._foreach_mul_(second, 0.97)
        torch._foreach_addcmul_(second, gradients, gradients, 0.03)
        count = counts[0]  # all weights of a group were there from its first step
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, (1 - 0.97**count).sqrt())
        torch._foreach_add_(roots, 1e-8)
        steps = torch._foreach_div(first, roots)
        torch._foreach_mul_(steps, rate / (1 - 0.9**count))
        torch._foreach_sub_(weights, steps)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns): the nearest matrices whose singular values are all about 1."""
    wide = matrices.shape[1] <= matrices.shape[2]
    found = matrices if wide else matrices.mT
    found = found / (found.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = found @ found.mT
        found = _A * found + (_B * square + _C * square @ square) @ found
    return found if wide else found.mT
