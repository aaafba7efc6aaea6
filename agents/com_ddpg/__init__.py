"""Com-DDPG: deterministic policy gradients with agents that remember and talk."""
