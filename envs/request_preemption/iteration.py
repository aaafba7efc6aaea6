"""One iteration of an instance: what is scheduled, how long it takes, what it leaves behind.

While a batch only decodes, nothing is touched but a few registers: its tokens are written into the
slots when somebody looks (`flush`). The result is that of stepping one by one, to the bit.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.lateness import bin_of, charge, count_late, note_gap
from fleetgym.envs.request_preemption.turns import finish
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    BASE,
    BATCH,
    BLOCK,
    BLOCKS,
    BUSY,
    BUSY_PS,
    CHARGED,
    CHUNK,
    CLIENT,
    CLOCK,
    COMPUTED,
    COPIES,
    DECODE_FIRST,
    DIRTY,
    DONE,
    DONE_EXCESS,
    DONE_FIRST,
    DONE_LAST,
    DONE_LATE,
    EMITTED,
    END,
    FAIR,
    FIRST,
    FLAG,
    FREE,
    GENERATED,
    ITERATIONS,
    ITERATIONS_SUM,
    LAST,
    LATE,
    LISTS,
    MODE,
    NEVER,
    NEXT_UPDATE,
    OUTPUT,
    OUTPUT_WEIGHT,
    PHASE,
    PHASES,
    PREFILL_FIRST,
    PREFILLED,
    PRIORITY,
    PROMPT,
    PURE,
    QUEUED_N,
    R_A0,
    R_A1,
    R_A2,
    R_D0,
    R_D1,
    R_D2,
    R_DECISION_ITERATIONS,
    R_TAX,
    R_TBT_SLO,
    R_TOKEN_BUDGET,
    REQUEST_STEPS,
    RUN,
    RUNNING_N,
    SERVED,
    SERVICE,
    SINCE,
    STAGE_DUE,
    STALL_END,
    STALLED,
    STOP,
    TAXED,
    TBT,
    TTFT,
    Int64,
    Rules,
    World,
)

MILLION = 1_000_000


@inner
def lacking(slots: Int64, s: int) -> int:
    """Tokens to compute before the next one is emitted."""
    return int(slots[PROMPT, s] + slots[GENERATED, s] - slots[COMPUTED, s])


@inner
def decodes(slots: Int64, s: int) -> bool:
    """Whether one token is lacking, after others were emitted: else it is a prefill."""
    return slots[GENERATED, s] > 0 and slots[COMPUTED, s] > 0 and lacking(slots, s) == 1


@inner
def compose(slots: Int64, registers: Int64, budget: int, mode: int) -> tuple[int, int]:
    """Writes the chunk of each running request under a mode.

    Returns:
        The blocks that the iteration needs beside those held, and the token budget left.
    """
    run, count = slots[LISTS + RUN], registers[RUNNING_N]
    prefills = 0
    for n in range(count):
        s = run[n]
        decode = decodes(slots, s)
        prefills += not decode
        slots[CHUNK, s] = 0
        if mode == DECODE_FIRST and decode:
            slots[CHUNK, s] = 1
            budget -= 1
    need = 0
    for n in range(count):
        s = run[n]
        lack = lacking(slots, s)
        if mode == PREFILL_FIRST and prefills > 0:
            if not decodes(slots, s):
                slots[CHUNK, s] = lack
        elif slots[CHUNK, s] == 0:
            slots[CHUNK, s] = min(lack, budget)
            budget -= slots[CHUNK, s]
        if slots[CHUNK, s] > 0:
            held = slots[BLOCKS, s]
            need += max(0, kv.blocks_of(slots[COMPUTED, s] + slots[CHUNK, s]) - held)
    return need, budget


@inner
def short(w: World, r: Rules, b: int, i: int, mode: int) -> bool:
    """Whether blocks for the next iteration under a mode are lacking."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    return compose(slots, registers, r.of[R_TOKEN_BUDGET], mode)[0] > kv.obtainable(registers)


@inner
def squares_of(k: int, c: int) -> int:
    """What attention to a chunk of c tokens behind k costs."""
    return (k + c) * (k + c) - k * k


@inner
def duration(r: Rules, tokens: int, prompt: int, squares: int, batch: int, context: int) -> int:
    """How long an iteration takes, ps, that no copy slows.

    ``tokens`` are all it computes, ``prompt`` those of prefills, ``squares`` their `squares_of`;
    ``batch`` requests decode, over ``context`` tokens.
    """
    base = r.first[tokens]
    if prompt > 0:
        base += r.of[R_A0] + r.of[R_A1] * prompt + r.of[R_A2] * squares
    if batch > 0:
        base += r.of[R_D0] + r.of[R_D1] * batch + r.of[R_D2] * context
    return int(base)


@inner
def start(w: World, r: Rules, b: int, i: int) -> None:
    """Begins an iteration in the mode in force; something runs, and blocks suffice."""
    slots, registers, run = w.slots[b, i], w.instances[b, i], w.slots[b, i, LISTS + RUN]
    compose(slots, registers, r.of[R_TOKEN_BUDGET], registers[MODE])
    for remainder in range(BLOCK):
        registers[PHASES + remainder] = 0
    tokens = prompt = squares = context = batch = scheduled = 0
    finish_at = NEVER
    for n in range(registers[RUNNING_N]):
        s = run[n]
        c, k = slots[CHUNK, s], slots[COMPUTED, s]
        if c == 0:
            continue
        more = kv.blocks_of(k + c) - slots[BLOCKS, s]
        if more > 0:
            kv.take(w, r, b, i, s, more)
        scheduled += 1
        tokens += c
        if decodes(slots, s):
            batch += 1
            context += k + 1
            registers[PHASES + k % BLOCK] += 1
            finish_at = min(finish_at, w.slots[b, i, OUTPUT, s] - slots[GENERATED, s])
        else:
            prompt += c
            squares += squares_of(k, c)
    base = duration(r, tokens, prompt, squares, batch, context)
    registers[PREFILLED] = prompt > 0
    registers[PURE] = batch == registers[RUNNING_N]
    registers[BATCH], registers[BASE], registers[PHASE] = scheduled, base, 0
    registers[TAXED] = registers[COPIES] > 0
    registers[STOP] = finish_at
    if registers[QUEUED_N] > 0:
        registers[STOP] = min(registers[STOP], r.of[R_DECISION_ITERATIONS] - registers[SINCE])
    registers[STOP] = min(registers[STOP], registers[NEXT_UPDATE] - registers[ITERATIONS])
    begin = w.scalars[b, CLOCK]
    if registers[STALL_END] > begin:
        w.scalars[b, STALLED] += registers[STALL_END] - begin
        begin = registers[STALL_END]
    registers[END] = begin + taxed(registers[TAXED], r.of[R_TAX], base)
    registers[BUSY], registers[FLAG], registers[DIRTY] = 1, 0, 0
    w.scalars[b, BUSY_PS] += registers[END] - begin


@inner
def taxed(copying: int, tax: int, base: int) -> int:
    """The duration of an iteration that a copy under way slows."""
    return base + base * tax // MILLION if copying else base


@inner
def decode_on(w: World, r: Rules, b: int, i: int, limit: int) -> bool:
    """Ends iterations of a decoding batch, and begins the next ones, up to ``limit`` ps.

    Returns whether the instance has come to a boundary at which it must be looked at; one at
    ``limit`` itself, when something else happens, is.
    """
    registers = w.instances[b, i]
    end, base, phase, done = registers[END], registers[BASE], registers[PHASE], registers[DONE]
    free, late, excess = registers[FREE], registers[DONE_LATE], registers[DONE_EXCESS]
    batch, copying, flag = (
        registers[BATCH],
        registers[TAXED],
        registers[FLAG] + registers[STAGE_DUE],
    )
    step, stop = r.of[R_D2] * batch, registers[STOP]
    spare = kv.obtainable(registers) - free
    last, took = registers[DONE_LAST], taxed(copying, r.of[R_TAX], base)
    place, ended, busy, at_boundary = bin_of(r.edges, took), 0, 0, False
    while end <= limit:
        if done == 0:
            registers[DONE_FIRST] = end
        else:
            while r.edges[place + 1] <= took:
                place += 1
            w.histograms[b, TBT, place] += batch
            if took > r.of[R_TBT_SLO]:
                late += 1
                excess += took - r.of[R_TBT_SLO]
        done += 1
        phase += 1
        ended += 1
        last = end
        if phase >= stop or flag or end == limit:
            at_boundary = True
            break
        need = registers[PHASES + (BLOCK - phase % BLOCK) % BLOCK]
        if need > free:
            if need > free + spare:
                at_boundary = True
                break
            registers[FREE] = free
            kv.make_room(w, r, b, i, need)
            free = registers[FREE]
            spare = kv.obtainable(registers) - free
        free -= need
        base += step
        took = taxed(copying, r.of[R_TAX], base)
        end += took
        busy += took
    registers[END], registers[BASE], registers[PHASE], registers[DONE] = end, base, phase, done
    registers[FREE], registers[DONE_LATE], registers[DONE_EXCESS] = free, late, excess
    registers[DONE_LAST] = last
    registers[SINCE] += ended
    registers[ITERATIONS] += ended
    w.scalars[b, ITERATIONS_SUM] += ended
    w.scalars[b, REQUEST_STEPS] += ended * batch
    w.scalars[b, BUSY_PS] += busy
    if at_boundary:
        registers[BUSY], registers[DIRTY] = 0, 1
    return at_boundary


@inner
def flush(w: World, r: Rules, b: int, i: int) -> None:
    """Writes the tokens of ended decode iterations into the slots, and ends what is complete."""
    slots, registers, run = w.slots[b, i], w.instances[b, i], w.slots[b, i, LISTS + RUN]
    done = registers[DONE]
    if done == 0:
        return
    first, last = registers[DONE_FIRST], registers[DONE_LAST]
    late, excess = registers[DONE_LATE], registers[DONE_EXCESS]
    registers[DONE] = registers[DONE_LATE] = registers[DONE_EXCESS] = 0
    n = 0
    while n < registers[RUNNING_N]:
        s = run[n]
        if slots[CHUNK, s] == 0:
            n += 1
            continue
        charge(w, r, b, i, s, first)
        note_gap(w, r, b, i, s, first)
        slots[LATE, s] += late
        count_late(w, b, slots[PRIORITY, s], excess)
        slots[LAST, s] = slots[CHARGED, s] = last
        slots[COMPUTED, s] += done
        slots[GENERATED, s] += done
        slots[SERVED, s] += done
        # What was taken block by block while nobody looked.
        slots[BLOCKS, s] = kv.blocks_of(slots[COMPUTED, s] + registers[BUSY])
        emit(w, b, slots[CLIENT, s], done)
        if slots[GENERATED, s] == w.slots[b, i, OUTPUT, s]:
            finish(w, r, b, i, s, last)
        else:
            n += 1


@inner
def emit(w: World, b: int, client: int, tokens: int) -> None:
    """Counts emitted tokens, also as service of their client."""
    w.scalars[b, EMITTED] += tokens
    w.clients[b, FAIR, client] += OUTPUT_WEIGHT * tokens
    w.clients[b, SERVICE, client] += OUTPUT_WEIGHT * tokens


@inner
def end_prefill(w: World, r: Rules, b: int, i: int) -> None:
    """Ends an iteration that computed prompts."""
    slots, registers, run = w.slots[b, i], w.instances[b, i], w.slots[b, i, LISTS + RUN]
    end = registers[END]
    registers[BUSY], registers[DIRTY] = 0, 1
    registers[SINCE] += 1
    registers[ITERATIONS] += 1
    w.scalars[b, ITERATIONS_SUM] += 1
    w.scalars[b, REQUEST_STEPS] += registers[BATCH]
    n = 0
    while n < registers[RUNNING_N]:
        s = run[n]
        n += 1
        if slots[CHUNK, s] == 0:
            continue
        was_decode = decodes(slots, s)
        slots[COMPUTED, s] += slots[CHUNK, s]
        slots[SERVED, s] += slots[CHUNK, s]
        if lacking(slots, s) > 0:
            continue
        if not was_decode:
            kv.register(w, r, b, i, s)
        charge(w, r, b, i, s, end)
        if slots[GENERATED, s] == 0:
            slots[FIRST, s] = end
            w.histograms[b, TTFT, bin_of(r.edges, end - slots[ARRIVAL, s])] += 1
        else:
            note_gap(w, r, b, i, s, end)
        slots[LAST, s] = end
        slots[GENERATED, s] += 1
        emit(w, b, slots[CLIENT, s], 1)
        if slots[GENERATED, s] == w.slots[b, i, OUTPUT, s]:
            finish(w, r, b, i, s, end)
            n -= 1
