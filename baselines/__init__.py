"""Policies to beat: heuristics, metaheuristics, exact solvers and bounds, by family."""
