"""What a routing is made of is what it was drawn from."""

import numpy as np

from fleetgym.traces.generators.expert_routing import latents, locality, routing


def test_the_largest_logits_are_activated():
    size = {"tokens": 12, "layers": 3, "num_experts": 64, "seed": 4}
    of = locality("medium", 64, 6)
    made = latents(**size, locality=of)
    logits = made.own + made.popularity + np.tensordot(made.mood, made.topics, 1)
    drawn = routing(**size, top_k=6, locality=of)
    assert np.array_equal(np.argsort(-logits, axis=2)[..., :6], drawn.experts)
