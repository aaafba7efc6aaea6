"""RLlib (new API stack): a cluster of LLM servers as agents that learn together."""
