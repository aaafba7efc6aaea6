"""Language models by name: their shapes, and what their weights and KV caches take up."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table
from fleetgym.traces.errors import nearest

_TOML = Path(__file__).with_name("models.toml")


@dataclass(frozen=True)
class Model:
    """Shape of a decoder-only transformer with gated feed-forward layers.

    Attributes:
        source: whose configuration it is.
        layers: transformer layers.
        hidden: width of the residual stream.
        heads, kv_heads, head_dim: query heads, key-value heads, width of each.
        ffn: width of the feed-forward layer, of each expert where there are several.
        vocabulary: rows of the embedding, and of the output layer, which is not tied to it.
        context: the most tokens of a sequence.
        dtype_bytes: of a weight and of a cached value.
        experts, active_experts: feed-forward layers in parallel, and how many a token visits.
        qkv_bias: whether the query, key and value projections have a bias.
    """

    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    context: int
    dtype_bytes: int = 2
    experts: int = 1
    active_experts: int = 1
    qkv_bias: bool = False

    @property
    def parameters(self) -> int:
        """Weights of the whole model."""
        qkv = (self.heads + 2 * self.kv_heads) * self.head_dim
        attention = self.hidden * (qkv + self.heads * self.head_dim) + self.qkv_bias * qkv
        router = self.hidden * self.experts if self.experts > 1 else 0
        feed_forward = 3 * self.hidden * self.ffn * self.experts + router
        layer = attention + feed_forward + 2 * self.hidden
        return self.layers * layer + (2 * self.vocabulary + 1) * self.hidden

    def weight_bytes(self, tp: int = 1) -> int:
        """Bytes of weights on each of ``tp`` GPUs (norms and router counted as if split).

        Raises:
            ScenarioError: the heads cannot be split so.
        """
        self._check(tp)
        return -(-self.parameters * self.dtype_bytes // tp)

    def kv_heads_per_gpu(self, tp: int = 1) -> int:
        """Key-value heads on each of ``tp`` GPUs; with more GPUs than heads each has a copy of one.

        Raises:
            ScenarioError: the heads cannot be split so.
        """
        self._check(tp)
        return max(self.kv_heads // tp, 1)

    def kv_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes of cached keys and values of one token on each of ``tp`` GPUs.

        Raises:
            ScenarioError: the heads cannot be split so.
        """
        return 2 * self.layers * self.kv_heads_per_gpu(tp) * self.head_dim * self.dtype_bytes

    def kv_blocks(
        self,
        memory_bytes: int,
        utilisation: float = 0.9,
        tp: int = 1,
        block_tokens: int = 16,
    ) -> int:
        """KV blocks that fit beside the weights, as vLLM's ``gpu_memory_utilization`` counts.

        Activations, which vLLM measures and leaves free as well, are not counted.

        Args:
            memory_bytes: of each GPU.
            utilisation: share of it that weights and cache may take.
            tp: GPUs the model is split over.
            block_tokens: tokens a block.

        Raises:
            ScenarioError: the heads cannot be split so, an argument is out of range, or the
                weights leave no room.
        """
        if not 0 < utilisation <= 1 or block_tokens < 1:
            raise ScenarioError(
                f"utilisation={utilisation}, block_tokens={block_tokens}: expected a share above 0 "
                "and at most 1, and at least one token"
            )
        weights = self.weight_bytes(tp)
        block = block_tokens * self.kv_bytes_per_token(tp)
        blocks = (int(memory_bytes * utilisation) - weights) // block
        if blocks < 1:
            raise ScenarioError(
                f"{self.source}: {weights} bytes of weights leave no room for a KV block in "
                f"{utilisation:.0%} of {memory_bytes} bytes; use a larger tp than {tp}"
            )
        return blocks

    def _check(self, tp: int) -> None:
        split = self.kv_heads % tp == 0 or tp % self.kv_heads == 0 if tp >= 1 else False
        if not split or self.heads % tp:
            raise ScenarioError(
                f"{self.source}: {self.heads} query and {self.kv_heads} key-value heads cannot be "
                f"split over tp={tp} GPUs"
            )


@cache
def models() -> dict[str, Model]:
    """Every model by name."""
    tables = tomllib.loads(_TOML.read_text(encoding="utf-8"))
    return {name: from_table(Model, table, f"model {name}") for name, table in tables.items()}


def model(name: str) -> Model:
    """The model of a name.

    Raises:
        ScenarioError: there is none; the message names the nearest.
    """
    if name not in models():
        raise ScenarioError(f"unknown model {name!r}: {nearest(name, models())}")
    return models()[name]
