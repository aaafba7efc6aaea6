"""A slow, obvious reference of distributed control: the central reference, and who may do what."""

from dataclasses import replace

from tests.oracles.vm_rescheduling import OracleWorld


class RackOracle:
    """One world whose racks decide at once. Everything is asked of the central reference anew."""

    def __init__(self, workload, scenario, num_pms, num_vms, num_racks):
        self.central = OracleWorld(
            workload, replace(scenario, control="central", action="pair"), num_pms, num_vms
        )
        self.scenario, self.num_racks, self.num_vms = scenario, num_racks, num_vms
        self.rack_of = workload.fleet.pm_rack.tolist()
        self.slots = 2 * num_pms
        self.offered, self.chosen = set(), [None] * num_racks
        self.steps = self.offers = self.dropped = self.illegal = 0
        self.masks = [self.mask_now(rack) for rack in range(num_racks)]

    @property
    def vms(self):
        return self.central.vms

    def targets(self, rack, v):
        """Legal targets of the VM inside the rack."""
        return [s for s in self.central.targets(v) if self.rack_of[s // 2] == rack]

    def owns(self, rack, v):
        return self.vms[v].pm is not None and self.rack_of[self.vms[v].pm] == rack

    def can_offer(self, rack, v):
        return (
            self.num_racks > 1
            and self.central.moves_left > 0
            and self.owns(rack, v)
            and self.vms[v].movable
            and v not in self.offered
        )

    def places(self, rack, v):
        """Slots and OFFER that the rack may choose for the VM."""
        allowed = set()
        if self.owns(rack, v) or v in self.offered:
            allowed |= {self.num_vms + 1 + slot for slot in self.targets(rack, v)}
        if self.can_offer(rack, v):
            allowed.add(self.num_vms + 1 + self.slots)
        return allowed

    def allowed(self, rack):
        v = self.chosen[rack]
        if v is not None:
            return self.places(rack, v)
        return {v for v in range(len(self.vms)) if self.places(rack, v)} | {self.num_vms}

    def mask_now(self, rack):
        if self.chosen[rack] is not None and not self.places(rack, self.chosen[rack]):
            self.chosen[rack] = None
        allowed = self.allowed(rack)
        return [int(a in allowed) for a in range(self.num_vms + 2 + self.slots)]

    def elapse(self, duration):
        self.central.elapse(duration)
        self.offered = {v for v in self.offered if self.vms[v].pm is not None}

    def step(self, actions):
        """Returns (team's terms, status of each rack, terminated, truncated)."""
        self.steps += 1
        terms, status = [0.0] * 8, []
        terms[6], self.central.outside = self.central.outside, 0.0
        stages = [chosen is None for chosen in self.chosen]
        for rack, action in enumerate(actions):
            status.append(self.act(rack, action, terms))
        passed = all(
            s == "done" and first and a == self.num_vms
            for s, first, a in zip(status, stages, actions, strict=True)
        )
        ended = passed or self.central.moves_left == 0
        late = self.steps >= 4 * self.scenario.mnl + 16
        late = late or self.central.clock >= int(self.scenario.horizon_s * 1e9)
        self.masks = [self.mask_now(rack) for rack in range(self.num_racks)]
        self.illegal += status.count("illegal")
        self.dropped += status.count("stale")
        return terms, status, ended, late and not ended

    def act(self, rack, action, terms):
        mask = self.masks[rack]
        if not 0 <= action < len(mask) or not mask[action]:
            return "illegal"
        still = action in self.allowed(rack)
        v = self.chosen[rack]
        if v is None:
            if still and action < self.num_vms:
                self.chosen[rack] = action
            return "done" if still else "stale"
        self.chosen[rack] = None
        if not still:
            return "stale"
        if action == self.num_vms + 1 + self.slots:
            self.offered.add(v)
            self.offers += 1
            return "done"
        self.offered.discard(v)
        made = [0.0] * 8
        self.central.migrate(v, action - self.num_vms - 1, made)
        terms[:6] = [a + b for a, b in zip(terms, made[:6], strict=False)]
        return "done"
