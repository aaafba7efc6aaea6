"""Hand-made rows, a table of times, and players for the reference of the serving machine."""

from tests.oracles.request_workloads import MS, Table, Workload

from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario

TABLE = Table([9 * MS + 50_000 * n for n in range(2_001)], 300, 20, 3, 500, 7, 2, 40, 11, 60, 13)


def scenario(**fields):
    made = RequestPreemptionScenario(name="hand", workload="hand", slots=8, kv_blocks=40)
    return made.override({"max_num_seqs": 4, "token_budget": 64} | fields)


def workload(*rows, hash_tokens=0):
    """Single requests (arrival, prompt, output), or with more of `Workload.add`."""
    made = Workload(hash_tokens, 5)
    for row in rows:
        made.add(*row)
    made.num_first = len(rows)
    return made


def turns(*rows):
    """One program: (pause, prompt, output) of each turn."""
    made = Workload(0, 5, num_first=1)
    for pause, prompt, output in rows:
        made.add(0, prompt, output, program=0, pause=pause)
    made.next_turn[:-1] = range(1, len(rows))
    return made


def slots(world):
    """Positions that may be touched, by the state of the request there."""
    rows = world.table_rows(world.decision()[1])
    found = {"waiting": [], "swapped": [], "running": []}
    for kind, position, *_ in sorted(world.legal()):
        if kind == "slot":
            found[rows[position]["state"]].append(position)
    return found


def fcfs(world):
    """Starts the head of the queue, else goes on, else preempts the last one."""
    rows = world.table_rows(world.decision()[1])
    head = ("slot", sum(row["state"] == "running" for row in rows))
    if head in world.legal() and head[1] < len(rows):
        return head
    return ("go", 0) if ("go", 0) in world.legal() else ("slot", slots(world)["running"][-1])


def play(world, policy=fcfs):
    while world.decision()[0] != "over":
        world.act(policy(world))
        world.check()
    return world


def random_policy(rng):
    """Any legal action; some players go on more often than others."""
    haste = rng.random()

    def policy(world):
        legal = sorted(world.legal())
        going = [action for action in legal if action[0] == "go"]
        chosen = going if going and rng.random() < haste else legal
        return chosen[rng.integers(len(chosen))]

    return policy


def alone(prompt, output, cached=0, budget=64):
    """Time to the first token, and the times of the others, of a request by itself."""
    t, k, first = TABLE, cached, 0
    while k < prompt:
        c = min(budget, prompt - k)
        first += t.first[c] + t.a0 + t.a1 * c + t.a2 * ((k + c) ** 2 - k**2)
        k += c
    later = [t.first[1] + t.d0 + t.d1 + t.d2 * (prompt + i + 1) for i in range(output - 1)]
    return first, later
