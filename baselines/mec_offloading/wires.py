"""How long data takes from place to place, alone on its way and without fading."""

import numpy as np

from fleetgym.baselines.mec_offloading.problem import Float64, Int64
from fleetgym.envs.mec_offloading.types import NOBODY, S_UP, V_COVER, V_SERVING, State

UNREACHABLE = 1e18  # ns per bit, in place of a way that is not there


class Ways:
    """Ways between a device (place 0), the M servers and the cloud: ns = fixed + ns per bit.

    Args:
        state: of the worlds.
        b: which world.
        device: u.
        radio_ns: latency of the radio.
        fade: 0, or the power gain of the channel that fading makes at best. With 0 nothing
            fades, and an uplink is shared with the users that were last seen on it, or with the
            other devices spread evenly over the cells where these are more; else with nobody.

    Attributes:
        fixed: ``(M + 2, M + 2)`` ns.
        per_bit: ``(M + 2, M + 2)`` ns per bit, UNREACHABLE where there is no way.
        up_per_bit: ``(M + 2,)`` ns per bit of the radio alone, from the device.
        down_per_bit: likewise, to the device.
    """

    def __init__(self, state: State, b: int, device: int, radio_ns: float, fade: float) -> None:
        wire_fixed, wire_per_bit = _wires(state, b)
        nodes, m = len(wire_fixed), len(wire_fixed) - 1
        row = state.devices[b, device]
        serving, cover = int(row[V_SERVING]), int(row[V_COVER])
        self.fixed = np.zeros((nodes + 1, nodes + 1))
        self.per_bit = np.zeros((nodes + 1, nodes + 1))
        self.up_per_bit = np.full(nodes + 1, UNREACHABLE)
        self.down_per_bit = np.full(nodes + 1, UNREACHABLE)
        self.fixed[1:, 1:], self.per_bit[1:, 1:] = wire_fixed, wire_per_bit
        if serving == NOBODY:
            self.per_bit[0, 1:] = self.per_bit[1:, 0] = UNREACHABLE
            return
        others = (state.devices.shape[1] - 1) / m
        users, mean = np.maximum(state.seen[b, :, S_UP], others), state.mean[b, :, device]
        if fade > 0:
            users, mean = np.zeros(m), np.log2(1 + fade * (2.0**mean - 1))
        rate = state.band[b] * np.maximum(mean, 1e-6) * 1e-9  # bits per ns
        for node in range(nodes):
            covered = node < m and (cover >> node) & 1
            cell = node if covered else serving
            self.up_per_bit[node + 1] = (1 + users[cell]) / rate[0, cell]
            self.fixed[0, node + 1] = radio_ns + wire_fixed[cell, node]
            self.per_bit[0, node + 1] = self.up_per_bit[node + 1] + wire_per_bit[cell, node]
            last = _last_hop(state.following[b], node, serving, cover)
            self.down_per_bit[node + 1] = 1 / rate[1, last]
            self.fixed[node + 1, 0] = radio_ns + wire_fixed[node, last]
            self.per_bit[node + 1, 0] = self.down_per_bit[node + 1] + wire_per_bit[node, last]

    def loosen(self, other: "Ways") -> None:
        """Takes the best of two positions of the device: no flight that begins in one is faster.

        The radio is the best to or from any cell, as a cell may be kept while the device moves on.
        """
        up = min(self.up_per_bit.min(), other.up_per_bit.min())
        down = min(self.down_per_bit.min(), other.down_per_bit.min())
        by_wire = [
            np.stack([ways.per_bit[0] - ways.up_per_bit, ways.per_bit[:, 0] - ways.down_per_bit])
            for ways in (self, other)
        ]
        out, back = np.maximum(np.minimum(*by_wire), 0.0)
        self.per_bit[0, 1:], self.per_bit[1:, 0] = up + out[1:], down + back[1:]
        self.fixed = np.minimum(self.fixed, other.fixed)
        self.up_per_bit[:], self.down_per_bit[:] = up, down

    def times(self, bits: Float64) -> Int64:
        """``(len(bits), M + 2, M + 2)`` ns, rounded up; nothing takes no time."""
        spent = self.fixed + bits[:, None, None] * self.per_bit
        spent = np.where((bits == 0)[:, None, None] | _same(spent.shape[1]), 0.0, spent)
        return np.ceil(np.minimum(spent, 1e14)).astype(np.int64)


def _last_hop(following: Int64, node: int, serving: int, cover: int) -> int:
    """Whose radio brings data from a node home: the first on the way that covers the device."""
    at = node
    while at != serving and (at == len(following) - 1 or not (cover >> at) & 1):
        at = int(following[at, serving])
    return at


def _same(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.eye(n, dtype=np.bool_)[None]


def _wires(state: State, b: int) -> tuple[Float64, Float64]:
    """``(M + 1, M + 1)`` ns, and ns per bit, of the routes between servers and the cloud."""
    rate, delay, following = state.link_rate[b], state.delay[b], state.following[b]
    nodes = len(rate)
    fixed, per_bit = np.zeros((nodes, nodes)), np.zeros((nodes, nodes))
    for source in range(nodes):
        for target in range(nodes):
            at = source
            while at != target:
                onward = int(following[at, target])
                fixed[source, target] += delay[at, onward]
                per_bit[source, target] += 1 / rate[at, onward]
                at = onward
    return fixed, per_bit
