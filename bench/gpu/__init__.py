"""Full-size Wan on one GPU, stock diffusers beside the farm's plan; tiny on a CPU, so that it never rots."""
