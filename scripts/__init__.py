"""The command line, training, benchmarks and the leaderboard."""
