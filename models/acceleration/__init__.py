"""Memory placement, kernels and approximations."""
