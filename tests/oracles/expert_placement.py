"""A slow, obvious reference of the expert placement machine, from its formulas alone.

Equations, for a window of iterations_per_window iterations, with tokens summed over it:

    share of a slot      = tokens of its expert / replicas of the expert
    tokens_g             = sum of the shares of GPU g's slots
    f[u, n]              = share of group u's tokens that node n serves
    inter_g              = (M - 1)/M x sum over g's slots of share x (1 - (1 - 1/h) f[u, n])
    intra_g              = (G - 1)/G x tokens_g - inter_g
    serving              = sum over layers of max over g of max(floor,
                           token_ns x tokens_g + bytes x (inter_g / inter_gb + intra_g / intra_gb))
    stall (synchronous)  = copy_ns x max over g of sum over layers of |experts new to g|
    balanced             = serving if tokens_g = tokens / G and f = 1 for every group

Invariants: every slot holds an expert and every expert has a slot; shares add up to the tokens;
balanced <= serving; the reward is minus the time over the balanced time, term by term; edits make
no time, and what an edit did is never undone in its window.

Nothing is kept that can be recomputed: only the placement, what it was when the window began, the
edits made, and the clock.
"""

import math
from collections import Counter, deque

TERMS = ("serving", "stall", "thinking", "illegal")


def least_maximum(slots, load, gpus):
    """min over splits of max over GPUs of tokens: the largest over sets of GPUs (brute force)."""
    per_gpu = len(slots) // gpus
    where = {}
    for slot, expert in enumerate(slots):
        where.setdefault(expert, set()).add(slot // per_gpu)
    best = 0.0
    for chosen in range(1, 1 << gpus):
        inside = {g for g in range(gpus) if chosen >> g & 1}
        forced = sum(load[e] for e, homes in where.items() if homes <= inside)
        best = max(best, forced / len(inside))
    return best


def split(slots, load, gpus, lp):
    """Tokens of each slot."""
    counts = Counter(slots)
    flow = [load[e] / counts[e] for e in slots]
    return rebalanced(slots, flow, gpus) if lp else flow


def rebalanced(slots, flow, gpus):
    """Moves tokens from the fullest GPU along shared experts, in small steps, until none helps."""
    per_gpu = len(slots) // gpus

    def total(g):
        return sum(flow[g * per_gpu : (g + 1) * per_gpu])

    for _ in range(4_000):
        tokens = [total(g) for g in range(gpus)]
        start = max(range(gpus), key=tokens.__getitem__)
        came, queue = {start: None}, deque([start])
        while queue:
            g = queue.popleft()
            for i in range(g * per_gpu, (g + 1) * per_gpu):
                for j, expert in enumerate(slots):
                    h = j // per_gpu
                    if expert == slots[i] and flow[i] > 1e-9 and h not in came:
                        came[h] = (i, j)
                        queue.append(h)
        goal = min(came, key=tokens.__getitem__)
        if tokens[goal] >= tokens[start] - 1e-9 * max(1.0, tokens[start]):
            break
        way, g = [], goal
        while came[g] is not None:
            way.append(came[g])
            g = came[g][0] // per_gpu
        amount = min((tokens[start] - tokens[goal]) / 2, *(flow[i] for i, _ in way))
        for i, j in way:
            flow[i] -= amount
            flow[j] += amount
    return flow


class OracleWorld:
    """One world under edits. Central actions are numbers; distributed ones a list, one a layer."""

    def __init__(self, loads, scenario, plan, edit_ns):
        self.scenario, self.edit_ns = scenario, edit_ns
        self.loads = loads  # (H + W, L, E) lists, the oldest first
        self.plan = [list(layer) for layer in plan]
        self.first = [list(layer) for layer in plan]
        self.window, self.clock, self.thought = 0, 0, 0
        self.totals = Counter()
        self.balance = [0.0, 0.0, 0.0]  # sums of mean, max, mean / max
        self.begin()

    def begin(self):
        self.begun = [list(layer) for layer in self.plan]
        self.left = [self.scenario.edits_per_layer] * self.scenario.layers
        self.slot = [None] * self.scenario.layers
        self.passed = [False] * self.scenario.layers
        self.layer, self.fresh = None, True

    def gpu(self, slot):
        return slot // self.scenario.slots_per_gpu

    def replicas(self, layer):
        counts = Counter(self.plan[layer])
        return [counts[e] for e in range(self.scenario.experts)]

    # What is legal, by trying: an edit is a new placement of the layer.

    def edited(self, layer, slot, target):
        """The layer's slots after the edit, or None where it is illegal."""
        slots, experts = list(self.plan[layer]), self.scenario.experts
        if target < experts:
            slots[slot] = target
            changed = [slot]
        else:
            other = target - experts
            if self.gpu(slot) == self.gpu(other):
                return None
            slots[slot], slots[other] = slots[other], slots[slot]
            changed = [slot, other]
        if slots == self.plan[layer] or set(slots) != set(range(experts)):
            return None
        if any(slots[i] == self.begun[layer][i] for i in changed):
            return None
        return slots if self.left[layer] > 0 else None

    def targets(self, layer, slot):
        size = self.scenario.experts + self.scenario.slots
        return [t for t in range(size) if self.edited(layer, slot, t) is not None]

    def slots(self, layer):
        return [s for s in range(self.scenario.slots) if self.targets(layer, s)]

    def mask(self):
        """Open actions, of the planner or of each layer's agent."""
        scenario = self.scenario
        if scenario.control == "distributed":
            return [self.agent_mask(layer) for layer in range(scenario.layers)]
        if self.layer is None:
            open_layers = [i for i in range(scenario.layers) if self.slots(i)]
            return [[*open_layers, scenario.layers]]
        if self.slot[self.layer] is None:
            return [self.slots(self.layer)]
        return [self.targets(self.layer, self.slot[self.layer])]

    def agent_mask(self, layer):
        if self.slot[layer] is not None:
            return self.targets(layer, self.slot[layer])
        return [*([] if self.passed[layer] else self.slots(layer)), self.scenario.slots]

    # Serving.

    def layer_time(self, slots, load):
        """ns, and the tokens of each GPU and those sent between nodes."""
        c = self.scenario
        flow = split(slots, load, c.gpus, c.dispatch == "lp")
        per_node, size = c.slots // c.nodes, c.experts // c.groups
        held = [[0.0] * c.nodes for _ in range(c.groups)]
        for slot, expert in enumerate(slots):
            held[expert // size][slot // per_node] += flow[slot]
        tokens, inter = [0.0] * c.gpus, [0.0] * c.gpus
        for slot, expert in enumerate(slots):
            group = held[expert // size]
            together = group[slot // per_node] / sum(group) if sum(group) else 0.0
            tokens[self.gpu(slot)] += flow[slot]
            saved = (1 - 1 / c.group_picks) * together
            inter[self.gpu(slot)] += flow[slot] * (1 - saved) * (c.nodes - 1) / c.nodes
        return max(map(self.gpu_time, tokens, inter)), tokens, sum(inter)

    def gpu_time(self, tokens, inter):
        c = self.scenario
        intra = tokens * (c.gpus - 1) / c.gpus - inter
        sending = c.bytes_per_token * (inter / c.inter_gb_s + intra / c.intra_gb_s)
        floor = round(c.floor_us * 1e3) * c.iterations_per_window
        return max(floor, math.floor(c.ns_per_token * tokens + sending))

    def balanced_time(self, load):
        c = self.scenario
        mean = sum(load) / c.gpus
        return self.gpu_time(mean, mean / c.group_picks * (c.nodes - 1) / c.nodes)

    def new_experts(self, layer, gpu):
        c = self.scenario
        part = slice(gpu * c.slots_per_gpu, (gpu + 1) * c.slots_per_gpu)
        return len(set(self.plan[layer][part]) - set(self.begun[layer][part]))

    def stall(self, old, new):
        """Serving and stall of a window, ns, from the layers' times before and after copying."""
        c = self.scenario
        copies = [[self.new_experts(layer, g) for g in range(c.gpus)] for layer in range(c.layers)]
        self.totals["copies"] += sum(map(sum, copies))
        if c.migration == "synchronous":
            return sum(new), c.copy_ns * max(map(sum, zip(*copies, strict=True)))
        fastest, copied, late = sum(new), 0, 0.0
        for layer in range(c.layers):
            if sum(copies[layer]):
                copied += max(copies[layer]) * c.copy_ns
                late += min(1, copied / fastest) * (old[layer] - new[layer])
        slower = c.interference * min(copied, fastest)
        return fastest + int(late), int(slower) + max(0, copied - fastest)

    def serve(self):
        """Serves the window; returns the reward's terms."""
        c = self.scenario
        load = self.loads[c.history + self.window]
        timed = [self.layer_time(self.plan[i], load[i]) for i in range(c.layers)]
        old = [self.layer_time(self.begun[i], load[i])[0] for i in range(c.layers)]
        serving, stall = self.stall(old, [time for time, _, _ in timed])
        for _, tokens, inter in timed:
            mean = sum(tokens) / c.gpus
            self.balance = [a + b for a, b in zip(
                self.balance, (mean, max(tokens), mean / max(tokens)), strict=True)]  # fmt: skip
            self.totals["tokens"] += sum(tokens)
            self.totals["inter"] += inter
        made = [c.edits_per_layer - left for left in self.left]
        edits = max(made) if c.control == "distributed" else sum(made)
        declared = edits * self.edit_ns
        thinking = declared + self.thought
        balanced = sum(map(self.balanced_time, load))
        self.totals.update(serving=serving, stall=stall, thinking=thinking, balanced=balanced)
        self.totals["held"] += sum(
            self.layer_time(self.first[i], load[i])[0] for i in range(c.layers)
        )
        self.clock += serving + stall + declared
        self.window, self.thought = self.window + 1, 0
        self.begin()
        return [-serving / balanced, -stall / balanced, -thinking / balanced, 0.0]

    def elapse(self, ns):
        self.clock += ns
        self.thought += ns

    # A step.

    def edit(self, layer, target):
        self.plan[layer] = self.edited(layer, self.slot[layer], target)
        self.slot[layer], self.left[layer] = None, self.left[layer] - 1
        self.totals["edits"] += 1

    def step(self, actions):
        """Returns the terms of each agent, whether the episode is over, and who was refused."""
        masks, refused = self.mask(), []
        for agent, action in enumerate(actions):
            refused.append(action not in masks[agent])
        self.totals["illegal"] += sum(refused)
        central = self.scenario.control == "central"
        served = self.act_central(actions[0], refused[0]) if central else self.act(actions, refused)
        shared = self.serve() if served else [0.0] * len(TERMS)
        terms = [list(shared) for _ in actions]
        for agent, bad in enumerate(refused):
            terms[agent][3] = -self.scenario.illegal_penalty if bad else 0.0
        return terms, self.window == self.scenario.windows, refused

    def act_central(self, action, refused):
        """Whether the window is to be served."""
        if refused:
            return False
        if self.layer is None and action == self.scenario.layers:
            return True
        self.fresh = False
        if self.layer is None:
            self.layer = action
        elif self.slot[self.layer] is None:
            self.slot[self.layer] = action
        else:
            self.edit(self.layer, action)
            self.layer = None
        return False

    def act(self, actions, refused):
        for layer, action in enumerate(actions):
            if refused[layer]:
                continue
            self.fresh = False
            if self.slot[layer] is not None:
                self.edit(layer, action)
            elif action == self.scenario.slots:
                self.passed[layer] = True
            else:
                self.slot[layer] = action
        return all(self.passed)

    # What is seen.

    def seen(self, layer):
        """Rows of the layer's tables."""
        c, now = self.scenario, c_index(self.scenario, self.window)
        last, before = self.loads[now][layer], self.loads[max(now - 1, now - c.history + 1)][layer]
        kept = [self.loads[t][layer] for t in range(now - c.history + 1, now + 1)]
        whole = [sum(window[e] for window in kept) for e in range(c.experts)]
        most, replicas = c.slots - c.experts + 1, self.replicas(layer)
        experts = [
            [relative(row, e) for row in (last, before, whole)] + [replicas[e] / most]
            for e in range(c.experts)
        ]
        _, tokens, _ = self.layer_time(self.plan[layer], last)
        nodes = [g // (c.gpus // c.nodes) / max(1, c.nodes - 1) for g in range(c.gpus)]
        gpus = [
            [relative(tokens, g), self.new_experts(layer, g) / c.slots_per_gpu, nodes[g]]
            for g in range(c.gpus)
        ]
        asked = not self.passed[layer] if c.control == "distributed" else self.layer == layer
        row = [
            sum(tokens) / c.gpus / max(tokens),
            self.left[layer] / c.edits_per_layer,
            float(bool(self.slots(layer))),
            float(asked and self.slot[layer] is None),
            float(self.slot[layer] is not None),
            float(self.passed[layer]),
        ]
        return experts, gpus, row

    def metrics(self):
        t = self.totals
        time = t["serving"] + t["stall"] + t["thinking"]
        served = self.window * self.scenario.layers
        mean, fullest, ratio = self.balance
        return {
            "time_s": time / 1e9,
            "relative_time": time / t["balanced"] if self.window else 1.0,
            "serving_s": t["serving"] / 1e9,
            "stall_s": t["stall"] / 1e9,
            "thinking_s": t["thinking"] / 1e9,
            "balancedness": mean / fullest if self.window else 1.0,
            "layer_balancedness": ratio / served if self.window else 1.0,
            "inter_node_share": t["inter"] / t["tokens"] if self.window else 0.0,
            "moved_gb": t["copies"] * self.scenario.expert_mb / 1e3,
            "regret_to_hold_s": (time - t["held"]) / 1e9,
            "dropped_tokens": 0.0,
            "edits": t["edits"],
            "illegal_actions": t["illegal"],
            "windows": self.window,
        }


def c_index(scenario, window):
    """Where the last window that was served stands in the loads."""
    return scenario.history + window - 1


def relative(values, i):
    """x / (x + mean)."""
    mean = sum(values) / len(values)
    return values[i] / (values[i] + mean) if values[i] > 0 else 0.0
