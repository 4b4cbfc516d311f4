"""`wanfarm doctor`: what the farm relies on, tried on the real servers and devices. It cleans up after itself."""
