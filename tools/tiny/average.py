"""A running mean of a model's weights."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Average:
    """A running mean of the weights, smoother than the last ones: it is what ships."""

    parameters: list[Tensor]
    shadow: list[Tensor] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.shadow = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def restart(self) -> None:
        """The mean of the weights as they are now, and of no others yet."""
        self.count = 0
        for mean, parameter in zip(self.shadow, self.parameters, strict=True):
            mean.copy_(parameter)

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        weight = max(0.02, 1 / (self.count + 1))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """The mean into the model, the model's own into the mean; again to undo it."""
        for mean, parameter in zip(self.shadow, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)
