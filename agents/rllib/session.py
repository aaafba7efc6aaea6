"""Ray for as long as a run takes, and PPO that leaves nothing behind."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import torch
from ray.rllib.algorithms.ppo import PPO


class Homeless:
    """An algorithm that writes nothing into the home folder."""

    def _setup_logdir(self) -> None:
        self._logdir = tempfile.mkdtemp(prefix="fleetgym-rllib-")


class HomelessPPO(Homeless, PPO):  # type: ignore[misc]
    """PPO that does so."""


@contextmanager
def ray_session(runners: int, address: str = "") -> Iterator[None]:
    """Starts Ray with room for so many processes beside this one, unless it runs already.

    Args:
        runners: processes that play.
        address: of a cluster that is joined instead; empty: none is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    torch.set_num_threads(1)
    started_here = not ray.is_initialized()
    with tempfile.TemporaryDirectory(prefix="fleetgym-ray-") as scratch:
        if started_here:
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            alone = {"num_cpus": 1 + runners, "include_dashboard": False, "_temp_dir": scratch}
            ray.init(**quiet, **({"address": address} if address else alone))
        try:
            yield
        finally:
            if started_here:
                ray.shutdown()
