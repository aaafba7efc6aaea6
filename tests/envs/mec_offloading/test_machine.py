"""Cases whose times and energies are known by hand, exact to the nanosecond."""

import math

import numpy as np
import pytest
from tests.envs.mec_offloading.worlds import FAMILY, one_task, simple, simulator_of

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.hardware.radio import noise_w_hz
from fleetgym.envs.mec_offloading import types as t
from fleetgym.traces.errors import TraceError
from fleetgym.traces.schema_mec import from_edges

QUIET = {"fading": False, "radio_ms": 0.0}
HOME, SERVER, OTHER = 0, 1, 2


def scenario(**fields):
    return FAMILY.scenario("small", QUIET | fields)


def play(workload, places, **fields):
    """Plays a list of places in the order of the questions; the simulator when it is over."""
    simulator = simulator_of(workload, scenario(**fields))
    reward = 0.0
    for place in places:
        assert not simulator.over()[0], "more places than questions"
        reward += simulator.step({"scheduler": np.array([[place]])}).reward[0, 0]
    assert simulator.over()[0], "fewer places than questions"
    return simulator, reward


def ends(simulator):
    return simulator.state().tasks[0, :, t.T_END].tolist()


def rate(bandwidth, users=1, metres=100.0, watts=0.5):
    """Bits per second by the formulas, with the logarithms of ``math``."""
    loss_db = 128.1 + 37.6 * math.log10(metres / 1000)
    snr = watts * 10 ** (-loss_db / 10) / (noise_w_hz() * bandwidth)
    return bandwidth / users * math.log2(1 + users * snr)


def near(seconds):
    """The table's logarithm is within 1e-7 of the true one."""
    return pytest.approx(seconds * 1e9, rel=1e-7)


def test_one_task_at_home():
    simulator, reward = play(simple([one_task(3 * 10**8)]), [HOME])
    assert ends(simulator) == [300_000_000]
    joules = 1e-27 * 1e9**2 * 3e8
    assert simulator.metrics()["device_energy_j"][0] == pytest.approx(joules, rel=1e-12)
    assert reward == pytest.approx(-(1.0 + 0.2 * 1.0))  # T_ref, and E_ref at its weight


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_frequency_costs_time_and_saves_energy(share):
    simulator, _ = play(simple([one_task(10**8)]), [0], dvfs=(share,))
    assert ends(simulator) == [round(1e8 / share)]
    joules = 1e-27 * (1e9 * share) ** 2 * 1e8
    assert simulator.metrics()["device_energy_j"][0] == pytest.approx(joules, rel=1e-12)


def test_one_task_at_the_server():
    size = 125_000
    simulator, _ = play(simple([one_task(4 * 10**8, size, size)]), [SERVER])
    up, down = 8 * size / rate(1e6), 8 * size / rate(1e6, watts=1.0)
    assert ends(simulator) == [near(up + 0.1)]
    assert simulator.now()[0] == near(up + 0.1 + down)
    assert simulator.metrics()["sending_energy_j"][0] == pytest.approx(0.5 * up, rel=1e-7)


def test_latency_of_the_radio_is_added_once_each_way():
    quick, _ = play(simple([one_task(10**6, 1000, 1000)]), [SERVER])
    slow, _ = play(simple([one_task(10**6, 1000, 1000)]), [SERVER], radio_ms=2.0)
    assert slow.now()[0] - quick.now()[0] == 4_000_000


def chain(cycles, size):
    n = len(cycles)
    return from_edges("chain", cycles, [(k, k + 1, size) for k in range(n - 1)])


def test_chain_at_home_and_at_one_server():
    graph = chain([10**8, 2 * 10**8, 3 * 10**8], 10**6)
    simulator, _ = play(simple([graph]), [HOME] * 3)
    assert ends(simulator) == [100_000_000, 300_000_000, 600_000_000]
    # No input from the device, and what is at the server is not sent again.
    simulator, _ = play(simple([graph]), [SERVER] * 3)
    assert ends(simulator) == [25_000_000, 75_000_000, 150_000_000]
    assert simulator.metrics()["transfers"][0] == 0


def test_chain_from_server_to_server_goes_by_wire():
    graph = chain([4 * 10**8, 4 * 10**8], 1_000_000)
    simulator, _ = play(simple([graph], server_hz=(4e9, 4e9)), [SERVER, OTHER])
    assert ends(simulator) == [100_000_000, 100_000_000 + 80_000_000 + 1_000_000 + 100_000_000]
    assert simulator.metrics()["sent_mb"][0] == 0


def test_fork_join():
    edges = [(0, 1, 0), (0, 2, 0), (1, 3, 0), (2, 3, 0)]
    graph = from_edges("diamond", [10**8, 2 * 10**8, 4 * 10**8, 10**8], edges)
    simulator, _ = play(simple([graph]), [HOME] * 4)
    assert ends(simulator) == [100_000_000, 700_000_000, 500_000_000, 800_000_000]
    simulator, _ = play(simple([graph], cores=2), [SERVER] * 4)
    assert ends(simulator) == [25_000_000, 75_000_000, 125_000_000, 150_000_000]


def test_two_devices_share_an_uplink():
    """Equal data: both run at R(2) until both are through. Less data: the rest goes at R(1)."""
    size, bandwidth = 125_000, 1e6
    graphs = [one_task(4 * 10**6, size), one_task(4 * 10**6, size)]
    simulator, _ = play(simple(graphs, cores=2), [SERVER, SERVER])
    together = 8 * size / rate(bandwidth, 2)
    assert ends(simulator) == [near(together + 0.001), near(together + 0.001)]
    graphs = [one_task(4 * 10**6, size), one_task(4 * 10**6, size // 5)]
    simulator, _ = play(simple(graphs, cores=2), [SERVER, SERVER])
    first = 8 * (size // 5) / rate(bandwidth, 2)
    last = first + 8 * (size - size // 5) / rate(bandwidth, 1)
    assert ends(simulator) == [near(last + 0.001), near(first + 0.001)]
    energy = simulator.metrics()["sending_energy_j"][0]
    assert energy == pytest.approx(0.5 * (first + last), rel=1e-7)


def test_two_cells_do_not_disturb_each_other():
    size = 125_000
    graphs = [one_task(4 * 10**6, size), one_task(4 * 10**6, size)]
    simulator, _ = play(simple(graphs, server_hz=(4e9, 4e9)), [SERVER, OTHER])
    alone = 8 * size / rate(1e6)
    assert ends(simulator) == [near(alone + 0.001), near(alone + 0.001)]


def test_lindley_at_a_fifo_server():
    """W(k + 1) = max(0, W(k) + S(k) - A(k)): waiting times of tasks without data."""
    rng = np.random.default_rng(0)
    service = rng.integers(10**7, 10**8, 30) * 4  # cycles at 4 GHz
    gaps = rng.integers(10**6, 10**8, 30)
    arrivals = np.cumsum(gaps)
    graphs = [one_task(int(cycles)) for cycles in service]
    workload = simple(graphs, arrivals=arrivals, devices=[0] * 30)
    simulator, _ = play(workload, [SERVER] * 30)
    wait, expected = 0, []
    for k in range(30):
        if k:
            wait = max(0, wait + int(service[k - 1]) // 4 - int(gaps[k]))
        expected.append(int(arrivals[k]) + wait + int(service[k]) // 4)
    assert ends(simulator) == expected


def test_processor_sharing():
    """Two tasks on one core: half speed each until the shorter is through."""
    graphs = [one_task(4 * 10**8), one_task(8 * 10**8)]
    simulator, _ = play(simple(graphs), [SERVER, SERVER], discipline="ps")
    assert ends(simulator) == [200_000_000, 300_000_000]
    simulator, _ = play(simple(graphs, cores=2), [SERVER, SERVER], discipline="ps")
    assert ends(simulator) == [100_000_000, 200_000_000]


def test_a_file_with_two_readers_is_sent_once():
    graph = from_edges("two", [10**6, 10**6], [])
    shared = type(graph)(
        name="shared",
        cycles=graph.cycles,
        memory=graph.memory,
        data_bytes=np.array([1000], np.int64),
        data_producer=np.array([-1], np.int32),
        data_result=np.array([False]),
        use_data=np.array([0, 0], np.int32),
        use_task=np.array([0, 1], np.int32),
    ).validate()
    simulator, _ = play(simple([shared], cores=2), [SERVER, SERVER])
    assert simulator.metrics()["transfers"][0] == 1
    assert len(set(ends(simulator))) == 1


def test_memory_is_masked_and_given_back():
    graphs = [one_task(4 * 10**8, memory=60), one_task(4 * 10**8, memory=60)]
    simulator = simulator_of(simple(graphs, memory=100), scenario())
    simulator.step({"scheduler": np.array([[SERVER]])})
    assert simulator.action_mask()["scheduler"][0, 0].tolist() == [1, 0, 1]
    simulator.elapse(np.array([100_000_000]))
    simulator.step({"scheduler": np.array([[HOME]])})
    assert simulator.world.i["processors"][0, 2, t.P_MEMORY] == 100


def test_who_has_no_place_waits_until_there_is_one():
    """Two tasks of one device that nobody can hold together, out of every cell."""
    graphs = [one_task(10**8, memory=60), one_task(10**8, memory=60)]
    workload = simple(graphs, memory=100, devices=[0, 0], cells=[10.0])
    simulator, _ = play(workload, [HOME, HOME])
    assert ends(simulator) == [100_000_000, 200_000_000]
    assert simulator.state().tasks[0, :, t.T_START].tolist() == [0, 100_000_000]


def test_planned_times_are_those_of_the_textbook():
    """RT = max(FT + c), FT = max(RT, end of the one before) + exec, one flight at a time."""
    graph = from_edges("v", [4 * 10**8, 4 * 10**8, 4 * 10**8], [(0, 2, 125_000), (1, 2, 125_000)])
    simulator, _ = play(simple([graph]), [SERVER, HOME, SERVER], planned=True)
    talk = 8 * 125_000 / rate(1e6)
    assert ends(simulator) == [100_000_000, 400_000_000, near(0.4 + talk + 0.1)]


def test_planned_order_is_kept_even_where_another_task_is_ready():
    """On one core the planned first one waits for its data, and the second waits behind it."""
    graphs = [one_task(4 * 10**8, 1_250_000), one_task(4 * 10**8)]
    workload = simple(graphs, devices=[0, 0])
    planned, _ = play(workload, [SERVER, SERVER], planned=True, priority="topological")
    online, _ = play(workload, [SERVER, SERVER], priority="topological")
    assert ends(online)[1] == 100_000_000
    assert ends(planned)[0] < ends(planned)[1]


def test_a_device_out_of_every_cell_must_be_able_to_hold_its_tasks():
    workload = simple([one_task(10**8, memory=200)], memory=100, cells=[10.0])
    with pytest.raises(WorkloadError, match=r"device 0 is in no cell and has 100 bytes.*200"):
        simulator_of(workload, scenario())


def test_a_world_in_which_nothing_can_happen_is_cut_off():
    """The result cannot come home where no cell covers the device and nobody moves."""
    workload = simple([one_task(10**8, memory=200)], memory=300)
    simulator = simulator_of(workload, scenario())
    simulator.world.h["cover"][:] = 0
    simulator.world.i["devices"][0, :, t.V_SERVING] = t.NOBODY
    simulator.world.i["processors"][0, 0, t.P_MEMORY] = 0
    simulator.elapse(np.array([1]))
    result = simulator.step({"scheduler": np.array([[9]])})  # illegal: the machine looks again
    assert result.truncated[0]
    assert simulator.now()[0] == 600_000_000_000
    assert simulator.metrics()["miss_rate"][0] == 1


def test_a_late_report_lets_a_full_server_look_open():
    graphs = [one_task(4 * 10**9, memory=60), one_task(10**6, memory=60)]
    workload = simple(graphs, memory=100)
    simulator = simulator_of(workload, scenario(view_delay_ms=10.0))
    simulator.step({"scheduler": np.array([[SERVER]])})
    result = simulator.step({"scheduler": np.array([[SERVER]])})
    assert result.status[0, 0] == 2
    assert simulator.metrics()["stale_actions"][0] == 1
    assert simulator.now()[0] == 10_000_000, "asked again when the refusal is known"
    task = simulator.state().asked[0, 0]
    assert simulator.state().tasks[0, task, t.T_DEVICE] == 1


def test_toy_optimum():
    """All placements of the three tasks; the best two are told apart by hand.

    Everything at the server: 50 kB up, 50 ms, two forks side by side of 100 ms, 2 x 10 kB home.
    """
    family_scenario = FAMILY.scenario("toy")
    source = FAMILY.workloads(family_scenario)
    scores = {}
    for code in range(27):
        simulator = FAMILY.simulate(family_scenario, source, 1)
        simulator.reset([source.draw(0)])
        places = [code // 9, code // 3 % 3, code % 3]
        for place in places:
            simulator.step({"scheduler": np.array([[place]])})
        scores[tuple(places)] = float(simulator.metrics()["mean_makespan_s"][0])
    best = min(scores, key=scores.get)
    assert best == (SERVER, SERVER, SERVER)
    assert scores[HOME, HOME, HOME] == 1.0
    up, down = rate(1e6, metres=10.0, watts=0.1), rate(1e6, metres=10.0, watts=1.0)
    hand = 400_000 / up + 0.05 + 0.1 + 2 * 80_000 / down + 2e-3
    assert scores[best] == pytest.approx(hand, rel=1e-7)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 1, 5), (1, 0, 5)], r"tasks \[0, 1\] wait for one another"),
        ([(0, 5, 5)], r"use_task\[0\] is 5, it must be 0 to 1"),
        ([(0, 1, -5)], r"data_bytes\[0\] is -5, it must be 0 to"),
    ],
)
def test_malformed_graphs(edges, message):
    with pytest.raises(TraceError, match=message):
        from_edges("bad", [1, 1], edges)


def test_work_must_be_positive():
    with pytest.raises(TraceError, match=r"cycles\[1\] is 0, it must be 1 to"):
        from_edges("bad", [1, 0], [])
