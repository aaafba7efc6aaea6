"""The offloading machine, slow and obvious: objects, sets, and a search for the next event.

It knows no packed tables, queue links or sorted lists; events are looked for among everything that
could happen. Only the tabulated logarithm and the hash of the fading are shared with the machine
itself: ``test_radio.py`` holds those against ``math``.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from fleetgym.envs.hardware.radio import fade, log2_1p, mean_snr, noise_w_hz, path_gain

HOME = -1
FAIL, MOVE, BLOCK, UP, DOWN, ARRIVE, FINISH, NOTICE, APPEAR, RETRY, HEAR = range(11)
log2_1p, fade = getattr(log2_1p, "py_func", log2_1p), getattr(fade, "py_func", fade)


@dataclass(eq=False)
class Data:
    number: int
    size: int
    producer: object
    app: object
    result: bool
    readers: list = field(default_factory=list)
    where: set = field(default_factory=set)
    flying: set = field(default_factory=set)

    def at(self, node):
        return node in self.where or (bool(self.where) and self.size == 0)


@dataclass(eq=False)
class Flight:
    data: object
    target: int
    at: int
    device: int
    power: int
    number: int  # breaks ties
    symbol: int = 0

    @property
    def bits(self):
        return self.data.size * 8.0


@dataclass(eq=False)
class Task:
    number: int
    slot: int
    app: object
    cycles: int
    memory: int
    key: int
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    state: str = "absent"
    node: int = -1
    share: int = 256
    power: int = 256
    start: int = 0
    end: int = 0
    left: float = 0.0
    known: bool = False

    @property
    def device(self):
        return self.app.device


@dataclass(eq=False)
class App:
    number: int
    device: int
    arrival: int
    deadline: int
    tasks: list = field(default_factory=list)
    data: list = field(default_factory=list)
    per_time: float = 0.0
    per_energy: float = 0.0
    finish: int = -1
    home: set = field(default_factory=set)


class Processor:
    def __init__(self, cores, speed, memory):
        self.cores, self.speed, self.memory, self.free = cores, speed, memory, memory
        self.queue, self.running, self.down = [], [], False
        self.rate, self.since, self.touched = 0.0, 0, False


class Radio:
    def __init__(self):
        self.queue, self.cell, self.left, self.rate = [], None, 0.0, 0.0
        self.since = self.began = self.end = 0


class Machine:
    """One world. ``place`` decides, ``run`` goes on; ``asked`` are the tasks asked about."""

    def __init__(self, workload, scenario, keys):
        self.scenario, self.workload = scenario, workload
        net, fleet = workload.network, workload.devices
        self.m, self.n = net.num_servers, fleet.num_devices
        self.clock, self.position = 0, 0
        self.delay = round(scenario.view_delay_ms * 1e6)
        self.block = round(scenario.block_ms * 1e6) if scenario.fading else 0
        self.shared = scenario.discipline == "ps"
        self.devices = [Processor(1, fleet.speed[u], fleet.memory[u]) for u in range(self.n)]
        self.nodes = [
            Processor(net.cores[k], net.speed[k], net.memory[k]) for k in range(self.m)
        ] + [Processor(2**40, scenario.cloud_ghz * 1e9, 2**60)]
        self.radios = {(way, u): Radio() for way in (0, 1) for u in range(self.n)}
        self.link_free = np.zeros((self.m + 1, self.m + 1), np.int64).tolist()
        self.touched = set()
        self.pending = []  # (time, kind, index, thing)
        self.heard = [0] * self.n
        self.speaking = set()
        self.under_way = set()
        self.energy = [0.0] * self.n
        self.energy_share = [0.0] * self.n
        self.misses = [0] * self.n
        self.stales = self.returned = self.restarts = self.flights = 0
        self.over = None
        self._routes()
        self._gains()
        self._graphs(keys)
        self.reports = [self.report(), self.report()]
        for server, start, end in workload.failures.tolist():
            self.pending += [(start, FAIL, server, None), (end, FAIL, server, None)]
        if len(fleet.track) > 1:
            self.pending.append((round(scenario.move_ms * 1e6), MOVE, 0, None))

    def _routes(self):
        """Best next nodes by trying every simple path's first step (Bellman's equation, slowly)."""
        net, size = self.workload.network, self.m + 1
        cost = [[math.inf] * size for _ in range(size)]
        for a in range(size):
            for b in range(size):
                if net.link_rate[a, b] > 0:
                    cost[a][b] = round(8e6 / net.link_rate[a, b] * 1e9) + net.link_latency[a, b]
        best = [[0 if a == b else math.inf for b in range(size)] for a in range(size)]
        for _ in range(size):
            for a in range(size):
                for b in range(size):
                    if a != b:
                        best[a][b] = min(cost[a][k] + best[k][b] for k in range(size))
        self.best = best
        self.following = [
            [
                b
                if a == b
                else next(k for k in range(size) if cost[a][k] + best[k][b] == best[a][b])
                for b in range(size)
            ]
            for a in range(size)
        ]

    def _gains(self):
        net, fleet = self.workload.network, self.workload.devices
        metres = np.hypot(*np.moveaxis(fleet.track[:, :, None] - net.position, -1, 0))
        self.covered = metres <= net.radius
        self.metres, gain, noise = metres, path_gain(metres), noise_w_hz()
        up = mean_snr(gain, fleet.power[:, None], net.bandwidth, noise)
        down = mean_snr(gain, np.full((1, 1), self.scenario.station_w), net.bandwidth, noise)
        self.snr = (up, down)

    def _graphs(self, keys):
        apps, fleet = self.workload.applications, self.workload.devices
        self.apps, self.tasks, self.data = [], [], []
        slots = dict.fromkeys(range(self.n), 0)
        uses = 0
        for number, graph in enumerate(apps.graphs):
            u = int(apps.device[number])
            app = App(number, u, int(apps.arrival[number]), 0)
            home = graph.cycles * 1e9 / fleet.speed[u]
            longest = home.copy()
            children = {t: [] for t in range(graph.num_tasks)}
            for parent, child in graph.edges.tolist():
                children[parent].append(child)
            for task in graph.order[::-1].tolist():
                longest[task] = home[task] + max(
                    (longest[child] for child in children[task]), default=0.0
                )
            app.deadline = app.arrival + round(self.scenario.deadline_factor * longest.max())
            app.per_time = 1 / float(home.sum())
            joules = fleet.kappa[u] * fleet.speed[u] ** 2 * float(graph.cycles.sum())
            app.per_energy = 1 / max(joules, 1e-9)
            first = len(self.tasks)
            for t in range(graph.num_tasks):
                number = len(self.tasks)
                task = Task(
                    number, slots[u], app, int(graph.cycles[t]), int(graph.memory[t]), keys[number]
                )
                slots[u] += 1
                self.tasks.append(task)
                app.tasks.append(task)
            for d in sorted(range(len(graph.data_bytes)), key=lambda d: graph.data_producer[d]):
                producer = int(graph.data_producer[d])
                made = None if producer < 0 else self.tasks[first + producer]
                data = Data(
                    len(self.data), int(graph.data_bytes[d]), made, app, bool(graph.data_result[d])
                )
                if made is not None:
                    made.outputs.append(data)
                for e in np.flatnonzero(graph.use_data == d).tolist():
                    data.readers.append(self.tasks[first + int(graph.use_task[e])])
                data.readers.sort(key=lambda task: task.number)
                # Uses are numbered in this order: ties between flights go by their number.
                data.numbers = {task: uses + k for k, task in enumerate(data.readers)}
                uses += len(data.readers)
                if data.result:
                    data.numbers[None] = uses
                    uses += 1
                for task in data.readers:
                    task.inputs.append(data)
                self.data.append(data)
                app.data.append(data)
            self.apps.append(app)
            self.pending.append((app.arrival, APPEAR, app.number, app))
        for task in self.tasks:
            task.inputs.sort(key=lambda data: data.number)

    # what is known of servers

    def report(self):
        return [(node.free, node.down) for node in self.nodes[: self.m]]

    def pass_time(self, time):
        if self.delay:
            for mark in range(self.clock // self.delay + 1, time // self.delay + 1):
                del mark
                self.reports = [self.reports[1], self.report()]
        self.clock = time

    def serving(self, u):
        covered = self.covered[self.position, u]
        if not covered.any():
            return None
        return min((self.metres[self.position, u, k], k) for k in range(self.m) if covered[k])[1]

    def legal(self, task, node):
        planned = self.scenario.planned
        if node == HOME:
            home = self.devices[task.device]
            return (home.memory if planned else home.free) >= task.memory
        if self.serving(task.device) is None:
            return False
        if node == self.m:
            return True
        if planned:
            return self.nodes[node].memory >= task.memory
        free, down = (self.report() if self.delay == 0 else self.reports[0])[node]
        return not down and free >= task.memory

    @property
    def asked(self):
        """By agent: the device under distributed control, 0 under central."""
        distributed = self.scenario.control == "distributed"
        chosen = {}
        if self.over:
            return chosen
        for task in sorted(self.tasks, key=lambda task: task.key):
            agent = task.device if distributed else 0
            if task.state != "ready" or agent in chosen:
                continue
            if any(self.legal(task, node) for node in range(-1, self.m + 1)):
                chosen[agent] = task
        return chosen

    # decisions

    def processor(self, task):
        return self.devices[task.device] if task.node == HOME else self.nodes[task.node]

    def place(self, task, node, share=256, power=256):
        there = self.devices[task.device] if node == HOME else self.nodes[node]
        planned = self.scenario.planned
        if node != HOME and self.serving(task.device) is None:
            self.stales += 1
            return False
        if node != HOME and not planned and (there.down or there.free < task.memory):
            self.stales += 1
            if self.delay:
                task.state, task.node = "refused", node
                self.pending.append((self.clock + self.delay, RETRY, task.number, task))
            return False
        task.state, task.node, task.share, task.power = "placed", node, share, power
        if planned:
            there.queue.append(task)
        else:
            there.free -= task.memory
        for data in task.inputs:
            if data.where and not data.at(node) and node not in data.flying:
                self.send(data, task, node)
        self.look_at(task)
        return True

    def speak(self, u, symbol):
        if symbol and u not in self.speaking:
            self.speaking.add(u)
            message = Data(-1, self.scenario.message_bytes, None, None, False)
            self.join((0, u), Flight(message, HOME, HOME, u, 256, u, symbol))

    def look_at(self, task):
        """A placed task whose inputs are all there queues."""
        if task.state == "placed" and all(data.at(task.node) for data in task.inputs):
            task.state = "queued"
            if not self.scenario.planned:
                self.processor(task).queue.append(task)
            self.start(self.processor(task))

    def start(self, p):
        away = p in self.nodes
        while p.queue and not p.down:
            full = len(p.running) >= p.cores and not (self.shared and away)
            task = p.queue[0]
            if full or task.state != "queued":
                return
            if self.scenario.planned:
                if p.free < task.memory:
                    return
                p.free -= task.memory
            p.queue.pop(0)
            task.state, task.start = "running", self.clock
            p.running.append(task)
            if self.shared and away:
                task.left, p.touched = float(task.cycles), True
            else:
                took = task.cycles * (1e9 * 256) / (p.speed * task.share)
                task.end = self.clock + math.ceil(took)

    # flights

    def send(self, data, task, target):
        if data.numbers[task] in self.under_way:
            return
        self.under_way.add(data.numbers[task])
        data.flying.add(target)
        self.flights += 1
        wired = [node for node in data.where if node != HOME]
        source = HOME
        if wired:
            u = data.app.device
            end = target if target != HOME else (self.serving(u) or 0)
            source = min((self.best[node][end], node) for node in wired)[1]
        power = 256 if task is None else task.power
        self.forward(Flight(data, target, source, data.app.device, power, data.numbers[task]))

    def forward(self, flight):
        here, u = flight.at, flight.device
        if here == HOME:
            self.join((0, u), flight)
            return
        target = flight.target
        if target == HOME:
            serving = self.serving(u)
            covers = here < self.m and self.covered[self.position, u, here]
            if covers or serving in (None, here):
                self.join((1, u), flight)
                return
            target = serving
        net, following = self.workload.network, self.following[here][target]
        done = max(self.link_free[here][following], self.clock)
        done += math.ceil(flight.bits / (net.link_rate[here, following] * 1e-9))
        self.link_free[here][following] = done
        flight.at = following
        arrival = done + int(net.link_latency[here, following])
        self.pending.append((arrival, ARRIVE, flight.number, flight))

    def arrive(self, flight):
        if flight.at != flight.target:
            self.forward(flight)
            return
        data, node = flight.data, flight.target
        self.under_way.discard(flight.number)
        data.where.add(node)
        data.flying.discard(node)
        for task in data.readers:
            if task.state == "placed" and task.node == node:
                self.look_at(task)
            elif task.state == "placed" and not {task.node} & (data.where | data.flying):
                self.send(data, task, task.node)
        if data.result and node == HOME:
            self.bring(data.app, data)

    def join(self, name, flight):
        self.radios[name].queue.append(flight)
        self.tune(name)

    def cell_for(self, name, flight):
        way, u = name
        wish = flight.target if way == 0 else flight.at
        if 0 <= wish < self.m and self.covered[self.position, u, wish]:
            return wish
        return self.serving(u)

    def tune(self, name):
        radio, way = self.radios[name], name[0]
        while radio.queue and radio.cell is None:
            flight = radio.queue[0]
            cell = self.cell_for(name, flight)
            if cell is None:
                return
            if way == 1 and flight.at != cell:
                radio.queue.pop(0)
                self.pending.append((self.clock, ARRIVE, flight.number, flight))
                continue
            radio.cell, radio.left, radio.rate = cell, flight.bits, 0.0
            radio.since = radio.began = self.clock
            self.touched.add((way, cell))

    def users(self, way, cell):
        return sum(radio.cell == cell for (w, _), radio in self.radios.items() if w == way)

    def hang_up(self, name):
        radio, (way, u) = self.radios[name], name
        self.touched.add((way, radio.cell))
        if way == 0:
            flight = radio.queue[0]
            joules = self.workload.devices.power[u] * flight.power / 256
            joules *= (self.clock - radio.began) * 1e-9
            self.energy[u] += joules
            app = flight.data.app
            if app is None:  # a message: the latest application's scale
                here = [a for a in self.apps if a.device == u and a.tasks[0].state != "absent"]
                app = here[-1] if here else None
            self.energy_share[u] += joules * (app.per_energy if app else 0.0)
        radio.cell = None

    def through(self, name):
        radio, (way, u) = self.radios[name], name
        flight, cell = radio.queue[0], radio.cell
        self.hang_up(name)
        radio.queue.pop(0)
        later = self.clock + round(self.scenario.radio_ms * 1e6)
        if flight.data.app is None:
            self.pending.append((later + self.delay, HEAR, u, flight))
        else:
            flight.at = cell if way == 0 else HOME
            self.pending.append((later, ARRIVE, flight.number, flight))
        self.tune(name)

    def settle(self):
        """New rates of the cells and servers that changed."""
        net = self.workload.network
        for (way, u), radio in self.radios.items():
            if radio.cell is None or (way, radio.cell) not in self.touched:
                continue
            radio.left -= radio.rate * (self.clock - radio.since)
            radio.since = self.clock
            snr = self.snr[way][self.position, u, radio.cell]
            if way == 0:
                snr *= radio.queue[0].power / 256
            if self.block:
                block = 2 * (self.clock // self.block) + way
                snr *= fade(int(self.workload.channel[0]), u, radio.cell, block)
            k = self.users(way, radio.cell)
            rate = net.bandwidth[radio.cell] / k * log2_1p(snr * k) * 1e-9
            radio.rate = max(rate, 1e-9)
            took = min(math.ceil(max(radio.left, 0.0) / radio.rate), 2**60)
            radio.end = self.clock + took
        self.touched.clear()
        for p in self.nodes if self.shared else ():
            if p.touched:
                share = p.cores / len(p.running) if len(p.running) > p.cores else 1.0
                rate = p.speed * 1e-9
                rate = rate * share if share < 1 else rate
                for task in p.running:
                    if task.start < self.clock:
                        task.left -= p.rate * (self.clock - p.since)
                    task.end = self.clock + math.ceil(max(task.left, 0.0) / rate)
                p.rate, p.since, p.touched = rate, self.clock, False

    # life of a task

    def finish(self, task):
        p = self.processor(task)
        p.running.remove(task)
        p.free += task.memory
        p.touched = True
        task.state = "done"
        if task.node == HOME:
            u = task.device
            frequency = p.speed * task.share / 256
            joules = self.workload.devices.kappa[u] * frequency * frequency * task.cycles
            self.energy[u] += joules
            self.energy_share[u] += joules * task.app.per_energy
        for data in task.outputs:
            data.where.add(task.node)
            for reader in data.readers:
                if reader.state != "placed":
                    continue
                if data.at(reader.node):
                    self.look_at(reader)
                elif reader.node not in data.flying:
                    self.send(data, reader, reader.node)
            if data.result:
                if data.at(HOME):
                    self.bring(task.app, data)
                elif HOME not in data.flying:
                    self.send(data, None, HOME)
        self.bring(task.app, task)
        if task.node == HOME or self.delay == 0:
            self.know(task)
        else:
            self.pending.append((self.clock + self.delay, NOTICE, task.number, task))
        self.start(p)

    def bring(self, app, thing):
        app.home.add(thing)
        results = sum(data.result for data in app.data)
        if len(app.home) == len(app.tasks) + results:
            app.finish = self.clock
            self.misses[app.device] += self.clock > app.deadline

    def know(self, task):
        task.known = True
        for data in task.outputs:
            for child in data.readers:
                made = [d.producer for d in child.inputs if d.producer is not None]
                if child.state == "blocked" and all(parent.known for parent in made):
                    child.state = "ready"

    def appear(self, app):
        for data in app.data:
            if data.producer is None:
                data.where.add(HOME)
        for task in app.tasks:
            free = all(data.producer is None for data in task.inputs)
            task.state = "ready" if free or self.scenario.planned else "blocked"

    def fail(self, server):
        p = self.nodes[server]
        p.down = not p.down
        if not p.down:
            self.start(p)
            return
        for task in self.tasks:
            if task.node == server and task.state in ("placed", "queued", "running"):
                p.free += task.memory
                p.touched = True
                if self.delay:
                    task.state = "refused"
                    self.pending.append((self.clock + self.delay, RETRY, task.number, task))
                else:
                    task.state = "ready"
                self.returned += 1
        p.queue.clear()
        p.running.clear()

    def move(self):
        self.position += 1
        for way in (0, 1):
            for u in range(self.n):
                name = (way, u)
                radio = self.radios[name]
                if radio.cell is not None:
                    self.touched.add((way, radio.cell))
                    if not self.covered[self.position, u, radio.cell]:
                        self.hang_up(name)
                        self.restarts += 1
                self.tune(name)
        if self.position + 1 < len(self.workload.devices.track):
            when = self.clock + round(self.scenario.move_ms * 1e6)
            self.pending.append((when, MOVE, 0, None))

    # time

    def events(self):
        """Everything that will happen if nothing else does before."""
        yield from self.pending
        on_air = False
        for (way, u), radio in self.radios.items():
            if radio.cell is not None:
                on_air = True
                yield radio.end, (UP, DOWN)[way], u, (way, u)
        if on_air and self.block:
            since = min(r.since for r in self.radios.values() if r.cell is not None)
            yield (since // self.block + 1) * self.block, BLOCK, 0, None
        for p in [*self.devices, *self.nodes]:
            for task in p.running:
                yield task.end, FINISH, task.number, task

    def happen(self, event):
        _, kind, index, thing = event
        if event in self.pending:
            self.pending.remove(event)
        if kind in (UP, DOWN):
            self.through(thing)
        elif kind == BLOCK:
            self.touched |= {(way, k) for way in (0, 1) for k in range(self.m)}
        elif kind == MOVE:
            self.move()
        elif kind == FAIL:
            self.fail(index)
        elif kind == ARRIVE:
            self.arrive(thing)
        elif kind == FINISH:
            self.finish(thing)
        elif kind == NOTICE:
            self.know(thing)
        elif kind == APPEAR:
            self.appear(thing)
        elif kind == RETRY:
            thing.state = "ready"
        elif kind == HEAR:
            self.heard[index] = thing.symbol
            self.speaking.discard(index)

    def run(self):
        horizon = round(self.scenario.horizon_s * 1e9)
        while True:
            if all(app.finish >= 0 for app in self.apps):
                self.over = "terminated"
                return
            self.settle()
            event = min(self.events(), key=lambda event: event[:3], default=(math.inf,))
            if event[0] > self.clock:
                if self.clock < horizon and self.asked:
                    return
                if event[0] > horizon or self.clock >= horizon:
                    self.pass_time(max(self.clock, horizon))
                    self.over = "truncated"
                    for app in self.apps:
                        there = app.tasks[0].state != "absent"
                        self.misses[app.device] += there and app.finish < 0
                    return
                self.pass_time(event[0])
            self.happen(event)

    def elapse(self, duration):
        """What happens while a policy thinks; nobody is asked meanwhile."""
        until = self.clock + duration
        while True:
            self.settle()
            event = min(self.events(), key=lambda event: event[:3], default=(math.inf,))
            if event[0] > until:
                break
            self.pass_time(event[0])
            self.happen(event)
        self.pass_time(until)

    def cost(self, u):
        """Time over T_ref, energy over E_ref, misses of a device so far."""
        time = 0.0
        for app in self.apps:
            if app.device == u and app.tasks[0].state != "absent":
                end = app.finish if app.finish >= 0 else self.clock
                time += (end - app.arrival) * app.per_time
        return time, self.energy_share[u], self.misses[u]
