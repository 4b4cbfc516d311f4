"""Progress, cancellation and launch throttling of a render."""
