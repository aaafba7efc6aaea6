"""What no schedule can exceed: MoE-Lens's bound on the throughput of offloaded inference."""

from fleetgym.envs.core.errors import PolicyError


def parallelism(prompt: float, generated: float) -> float:
    """PME(p, g) = 2 (p + g) / ((2 p + g) g): tokens a pass may process for each slot of KV cache.

    A sequence of p prompt and g generated tokens passes through the model g times and holds
    p + g / 2 tokens of KV cache in the mean (MoE-Lens 2025, parallelism-memory efficiency).

    Args:
        prompt: p, tokens.
        generated: g, tokens.

    Raises:
        PolicyError: a length is not positive.
    """
    if not (prompt >= 0 and generated > 0):
        raise PolicyError(
            f"a prompt of {prompt} and {generated} generated tokens: they must be at least 0 and "
            "above 0"
        )
    return 2 * (prompt + generated) / ((2 * prompt + generated) * generated)


def throughput_bound(
    prompt: float, generated: float, kv_tokens: float, delta_s: float, gpu_tokens_per_s: float
) -> float:
    """T_max = min(PME(p, g) M / delta, T_GPU) of MoE-Lens, tokens/s.

    Args:
        prompt: p, tokens.
        generated: g, tokens.
        kv_tokens: M, tokens for which there is KV cache.
        delta_s: bytes of the model / IO bandwidth: the weights pass over PCIe once a pass.
        gpu_tokens_per_s: T_GPU, what the GPU computes were the weights there.

    Raises:
        PolicyError: an argument is not positive.
    """
    if not (kv_tokens > 0 and delta_s > 0 and gpu_tokens_per_s > 0):
        raise PolicyError(
            f"kv_tokens {kv_tokens}, delta_s {delta_s}, gpu_tokens_per_s {gpu_tokens_per_s}: all "
            "must be above 0"
        )
    return min(parallelism(prompt, generated) * kv_tokens / delta_s, gpu_tokens_per_s)


def effective_kv_capacity(prompt: float, generated: float) -> float:
    """By how much overlapping prefill and decode stretches the KV cache: (p + g) / (p + g / 2).

    Sequences at all stages of decoding hold p + g / 2 tokens in the mean, not p + g: with p = 98
    and g = 256 it is 1.57 (MoE-Lens). Raises as `parallelism`.
    """
    return parallelism(prompt, generated) * generated
