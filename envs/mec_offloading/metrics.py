"""Metrics of an offloading episode, from the machine as it stands."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.hardware.edge import server_energy_j
from fleetgym.envs.mec_offloading import types as t
from fleetgym.envs.mec_offloading.layout import World

Float64 = NDArray[np.float64]


def metrics_of(world: World, idle_w: Float64, max_w: Float64) -> dict[str, Float64]:
    """Metrics of each world so far, ``(B,)``.

    Applications that have not finished count with the time they have taken so far.

    Args:
        world: B worlds.
        idle_w: ``(B, M)`` of each server.
        max_w: likewise.
    """
    head, apps = world.ints, world.i["apps"]
    clock = head[:, t.CLOCK]
    there = apps[:, :, t.A_TASKS_END] > 0
    finished = there & (apps[:, :, t.A_LEFT] == 0)
    end = np.where(finished, apps[:, :, t.A_FINISH], clock[:, None])
    took = np.where(there, end - apps[:, :, t.A_ARRIVAL], 0).astype(np.float64)
    slowdown = took / np.maximum(1, apps[:, :, t.A_CRITICAL])
    floats, devices = world.f["device_floats"], world.i["devices"]
    servers = world.i["processors"][:, devices.shape[1] : -1]
    busy = servers[:, :, t.P_BUSY] / servers[:, :, t.P_CORES] / 1e9
    local, sent = floats[:, :, t.FD_LOCAL].sum(axis=1), floats[:, :, t.FD_SENT].sum(axis=1)
    seconds = clock[:, None] / 1e9
    joules = server_energy_j(idle_w, max_w, busy, np.broadcast_to(seconds, busy.shape))
    arrived = np.maximum(1, there.sum(axis=1))
    return {
        "mean_makespan_s": took.sum(axis=1) / arrived / 1e9,
        "p95_makespan_s": _p95(took, there) / 1e9,
        "mean_slr": (slowdown * there).sum(axis=1) / arrived,
        "device_energy_j": local + sent,
        "computing_energy_j": local,
        "sending_energy_j": sent,
        "server_energy_j": joules.sum(axis=1),
        "miss_rate": devices[:, :, t.V_MISSES].sum(axis=1) / arrived,
        "server_load_cv": _variation(busy),
        "jain_slowdown": _jain(_by_device(slowdown, apps, there, devices.shape[1])),
        "offloaded_share": _offloaded(world),
        "applications_finished": finished.sum(axis=1).astype(np.float64),
        "decisions": head[:, t.DECISIONS].astype(np.float64),
        "transfers": head[:, t.FLIGHTS].astype(np.float64),
        "sent_mb": head[:, t.SENT_BYTES] / 1e6,
        "messages": head[:, t.MESSAGES].astype(np.float64),
        "handovers": head[:, t.HANDOVERS].astype(np.float64),
        "restarted_transfers": head[:, t.RESTARTS].astype(np.float64),
        "returned_tasks": head[:, t.RETURNED].astype(np.float64),
        "stale_actions": head[:, t.STALES].astype(np.float64),
        "illegal_actions": head[:, t.ILLEGALS].astype(np.float64),
        "clock_s": clock / 1e9,
    }


def _p95(took: Float64, there: NDArray[np.bool_]) -> Float64:
    """The 95th percentile of each row, of those that count (the nearest rank)."""
    order = np.sort(np.where(there, took, -1.0), axis=1)
    count = there.sum(axis=1)
    rank = took.shape[1] - count + np.maximum(0, -(-95 * count // 100) - 1)
    at = np.minimum(rank, took.shape[1] - 1)
    found: Float64 = np.take_along_axis(order, at[:, None], axis=1)[:, 0]
    found[found < 0] = 0.0
    return found


def _variation(busy: Float64) -> Float64:
    """Standard deviation over mean of the servers' work, 0 where there is none."""
    mean = busy.mean(axis=1)
    ratio: Float64 = np.divide(busy.std(axis=1), mean, out=np.zeros_like(mean), where=mean > 0)
    return ratio


def _by_device(
    slowdown: Float64, apps: NDArray[np.int64], there: NDArray[np.bool_], devices: int
) -> Float64:
    """``(B, U)`` mean slowdown of each device's applications, 0 without any."""
    total, count = np.zeros((len(apps), devices)), np.zeros((len(apps), devices))
    world, app = np.nonzero(there)
    device = apps[world, app, t.A_DEVICE]
    np.add.at(total, (world, device), slowdown[world, app])
    np.add.at(count, (world, device), 1.0)
    mean: Float64 = total / np.maximum(count, 1.0)
    return mean


def _jain(values: Float64) -> Float64:
    """Jain's index (sum x)^2 / (n sum x^2) over the devices with applications; 1 without."""
    squares = (values**2).sum(axis=1) * (values > 0).sum(axis=1)
    whole = values.sum(axis=1) ** 2
    index: Float64 = np.divide(whole, squares, out=np.ones_like(whole), where=squares > 0)
    return index


def _offloaded(world: World) -> Float64:
    """Share of the placed tasks that were not placed on their device."""
    tasks = world.i["tasks"]
    placed = (tasks[:, :, t.T_STATE] >= t.PLACED) & (tasks[:, :, t.T_STATE] <= t.DONE)
    away = placed & (tasks[:, :, t.T_NODE] != t.HOME)
    share: Float64 = away.sum(axis=1) / np.maximum(1, placed.sum(axis=1))
    return share
