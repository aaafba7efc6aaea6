"""A live migration of one request between two instances, in at most three stages."""

from dataclasses import replace

from tests.oracles.request_instance import INCOMING, MOVING, RUNNING, ceil16

SMALL = 16  # blocks: what the last stage may copy unless it is the third
STAGES = 3


def candidate(src):
    """The running decode request that would move: lowest priority, then fewest tokens."""
    decodes = [r for r in src.running if r.decodes()]
    return min(decodes, key=lambda r: (r.priority, r.k)) if decodes else None


def legal(world, src, dst):
    request = candidate(src)
    if src is dst or request is None or any(m.src is src for m in world.migrations):
        return False
    return dst.free_slots() > 0 and dst.seat() and dst.room() >= ceil16(request.k) + 1


class Migration:
    """Under way: the request stays at `src`, a place is reserved at `dst`."""

    def __init__(self, world, src, dst):
        self.world, self.src, self.dst = world, src, dst
        self.request = candidate(src)
        self.place = replace(self.request, state=INCOMING, blocks=0, held=[], cpu=0, valid=0)
        dst.aside.append(self.place)
        dst.take(self.place, ceil16(self.request.k) + 1)
        self.row, self.stage = self.request.row, 0
        self.copied = 0
        self.copy(self.request.k)

    def copy(self, tokens):
        """The next stage: everything computed so far, less what was copied before."""
        table = self.world.table
        self.stage += 1
        self.copied = self.request.k
        blocks = ceil16(tokens)
        self.length = self.dst.copy_time(blocks, table.move_fixed, table.move_block)
        self.end = self.world.now + self.length

    def time(self):
        """When its stage's end is treated: a decoding request only between iterations."""
        time = max(self.end, self.world.now)
        if self.request.state == MOVING or self.src.end is None:
            return time
        return max(time, self.src.end)

    def stage_end(self):
        r = self.request
        if r.state == MOVING:
            self.arrive()
        elif r not in self.src.running or r.row != self.row:
            self.abort()
        else:
            self.next_stage()

    def next_stage(self):
        r = self.request
        more = ceil16(r.k) + 1 - self.place.blocks
        if more > self.dst.room():
            self.abort()
            return
        self.dst.take(self.place, max(0, more))
        rest = max(0, r.k - self.copied)
        last = ceil16(rest) <= SMALL or self.stage + 1 == STAGES
        self.copy(rest)
        if last:
            self.src.running.remove(r)
            self.src.aside.append(r)
            r.state = MOVING

    def arrive(self):
        """It goes on at the destination; its blocks at the source are released."""
        r = self.request
        self.src.aside.remove(r)
        self.src.release(r)
        self.dst.aside.remove(self.place)
        r.state, r.blocks, r.cpu, r.valid = RUNNING, ceil16(r.k), 0, 0
        r.may_register = False
        self.dst.running.append(r)
        self.world.sums["downtime_ps"] += self.length
        self.leave("migrations")

    def abort(self):
        self.dst.aside.remove(self.place)
        self.leave("aborted_migrations")

    def leave(self, count):
        self.world.migrations.remove(self)
        self.world.sums[count] += 1
        self.src.event()
        self.dst.event()
