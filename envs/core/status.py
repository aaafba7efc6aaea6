"""What became of an action; apart from the simulator, so that kernels import nothing else."""

DONE, ILLEGAL, STALE = 0, 1, 2
