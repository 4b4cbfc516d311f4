"""The names of the farm's keys in Redis, once. Lua scripts get theirs from here: those of the ledger
(farm.ledger.scripts), of webhooks (farm.webhooks.deliveries) and of providers (farm.providers.gate)."""

import re
from collections.abc import Mapping
from functools import cache

#: name -> its parts after the prefix; a part in braces is an argument. The type and the meaning of each:
TEMPLATES: dict[str, str] = {
    # --- a job
    "job": "job:{id}",  # HASH, what the scripts decide on; small values only, so that Redis keeps it packed
    "body": "body:{id}",  # STRING, JSON of what no script reads: spec, dialect, metadata, ...
    "result": "result:{id}",  # STRING, JSON of the artifacts, once committed
    "lines": "lines:{id}",  # LIST, JSON of what workers logged of it for its owner (farm.ledger.job_lines)
    # --- indexes: ZSETs of job ids, all scores 0, so the order is that of the ids and a size is a count
    "jobs": "jobs:{tenant}:{state}",
    "label": "label:{tenant}:{state}:{label}",
    "dialect": "dialect:{tenant}:{state}:{dialect}",  # jobs of a provider's dialect, as its lists show them
    "batch_jobs": "batch-jobs:{batch}:{state}",  # jobs of a batch
    "batch_holds": "batch-holds:{batch}:{reason}",  # those that have this reason
    "holds": "holds:{tenant}:{reason}",  # open jobs that have this reason (farm.jobs.states.HoldReason)
    "ended": "ended",  # ZSET, terminal job id -> finished_ms
    # --- who waits for what, per pool
    # a line is a tier of a pool: the pool's name, or "<pool>!<tier>" where that is not normal (lua/lib/tier.lua)
    "queue": "queue:{line}:{tenant}",  # ZSET, job id -> (9 - priority) * 2^42 + deadline_ms
    "delayed": "delayed:{pool}",  # ZSET, job id -> when it may be tried again, ms
    "held": "held:{pool}",  # ZSET, job id that is not to start yet -> since when it stands here, ms
    "leases": "leases:{pool}",  # ZSET, job id -> lease_until_ms
    "fair": "fair:{line}",  # ZSET, tenant with queued jobs -> virtual time, GPU-seconds per weight
    "backlog": "backlog:{line}",  # HASH, tenant -> predicted GPU-milliseconds of its queue
    "share": "share:{line}",  # HASH, tenant -> virtual time; what else is in it, lib/fair.lua says
    "busy": "busy:{pool}:{tenant}",  # ZSET, job id at work on a worker of our own -> since when, ms
    "aside": "aside:{tenant}",  # SET, lines that a limit of the tenant keeps it from (lua/lib/limit.lua)
    "set_aside": "set-aside",  # SET, tenants that have some
    "switches": "switches",  # HASH, "<kind> <name>" of what an operator paused -> since when, ms
    "operations": "operations",  # STREAM, what operators did; never trimmed
    "due": "due",  # ZSET, open job id -> when its waiting changes it by itself, ms (lua/lib/due.lua)
    "permits": "permits:{pool}",  # ZSET, permit id -> when it was reserved, ms
    "permit_seq": "permit-seq",  # counter
    "workers": "workers:{pool}",  # ZSET, worker -> until when it counts as live, ms
    "facts": "facts:{pool}",  # HASH, worker -> JSON for operators
    "marks": "marks:{pool}",  # HASH, worker -> mark of what it told last (farm.ledger.workforce.mark)
    "notes": "notes:{pool}",  # HASH, worker -> what is counted of it in the next five (lua/lib/workforce.lua)
    "tally": "tally:{pool}",  # HASH, "slots" -> of live workers; "locked" -> of locked ones; "state <state>" -> workers
    "locked": "locked:{pool}",  # HASH, live worker that an operator locked -> its slots
    "offers": "offers:{pool}",  # HASH, "memory|models" -> live workers that offer it
    "able": "able:{pool}",  # HASH, "memory|models" -> of those, ones that could take what waits, now or later
    "free": "free:{pool}",  # HASH, "memory|models" -> of those, idle ones
    "offered": "offered:{pool}",  # ZSET, "memory|models" -> when a worker last offered it, ms
    "notices": "notices:{worker}",  # CHANNEL, ids of jobs that this worker should ask about (lua/lib/notify.lua)
    "bookmark": "bookmark:{line}:{worker}",  # STRING "offset tenant", how far it looked behind what it leaves to others
    "speeds": "speeds:{pool}",  # HASH, lane -> "seconds per TFLOP, renders measured"
    # older versions keep `forecast:` and `foretold:` in another form, and may run beside this one
    "forecast": "outlook:{line}",  # HASH, "|" -> JSON of the line's curve; tenant -> its place (farm.ledger.forecasts)
    "foretold": "predicted:{pool}",  # HASH, job id -> JSON of a prediction whose outcome is not known yet
    "progress": "progress:{pool}",  # HASH, tier -> "gained passed starts squares" (farm.scheduling.progress)
    "scores": "scores:{line}:{what}",  # LIST, how far predictions were off, in spreads, the newest first
    "renders": "renders:{pool}",  # HASH, tenant -> "count predicted took squares" (farm.scheduling.pace.RenderSums)
    "forgiven": "forgiven:{worker}",  # STRING, an operator lifts this worker's quarantine
    "claim": "claim:{nonce}",  # STRING, "job attempt" of a claim, for a call that is repeated after a lost reply
    "sent_again": "sent-again",  # STRING that means nothing: a write for a call that was repeated (farm.ledger.durable)
    "nothing": "nothing",  # never written (lib/full.lua)
    "pools": "pools",  # SET, pools ever used
    "owners": "owners",  # SET, tenants that ever had a job
    "reaped": "reaped",  # STRING, when the last reap was, ms
    "grace": "grace",  # HASH, while attempts get a lease more after Redis was away: lua/lib/grace.lua says what
    "audited": "audited",  # STRING, when an audit last came to its end, ms
    "drift": "drift",  # HASH, counter -> how many the audits found wrong and mended
    "pages": "pages",  # ZSET, "role machine host:port" of a page of metrics -> until when it counts, ms
    # --- purchases from providers; amounts in millionths of a dollar
    "purchase": "purchase:{nonce}",  # HASH, one submission (farm.jobs.purchase)
    "purchases": "purchases",  # ZSET, nonce -> when it was begun, ms
    # HASH {held, spent, balance, unexplained, ...} of an account at a provider, since ever (lua/balance_seen.lua)
    "account": "account:{provider}:{key}",
    "purchases_of": "purchases-of:{id}",  # LIST, nonces of a job's purchases, the oldest first
    "purchases_open": "purchases-open",  # ZSET, the same of those whose price is held
    "purchases_moved": "purchases-moved",  # counter of purchases that were begun or closed, by which an audit sees them
    "spend": "spend:{scope}:{period}",  # HASH {held, spent} of "tenant x", "provider x", "farm", "overhead" in a period
    "turn": "turn:{what}",  # STRING, the worker that does for all what one does
    "decision": "decision:{id}",  # STRING, JSON of what was last decided about buying a job
    "decisions": "decisions",  # STREAM {job, data} of the same
    "purchases_told": "purchases-told",  # STREAM {nonce}, purchases that a callback came for
    # --- jobs that wait for others (lua/lib/depend.lua)
    "children": "children:{id}",  # SET, ids of jobs that name this one among their parents
    "parents_over": "parents-over",  # LIST, ids of jobs that are over and whose children are not all looked at
    # --- batches (lua/batch_*.lua)
    "batch": "batch:{batch}",  # HASH
    "batches": "batches:{tenant}",  # ZSET of ids of admitted ones, all scores 0
    "batches_open": "batches-open",  # ZSET, admitted one with open jobs -> since when, ms
    "batches_coming": "batches-coming",  # ZSET, one that is staged or placed -> when that was last worked on, ms
    "batches_untold": "batches-untold",  # SET, those of which the tenant's stream does not have the latest
    "chunk": "chunk:{batch}:{n}",  # STRING, JSON of jobs that are staged and not placed yet
    "coming": "coming:{tenant}",  # HASH, batch that is staged or placed -> jobs to come
    "reserved": "reserved:{tenant}",  # HASH, the same -> micro-credits held for them
    "batch_idem": "batch-idem:{tenant}:{key}",  # STRING "batch sha256" for 24 h
    "batch_asked": "batch-asked:{batch}",  # STRING, JSON of what was asked for by a file (farm.jobs.batch.AskedBatch)
    "batches_asked": "batches-asked",  # ZSET, those whose file is to be looked at -> since when, ms
    "batch_acts": "batch-acts:{batch}",  # LIST, ids of acts on many of its jobs
    "act": "act:{id}",  # HASH
    "act_remade": "act-remade:{id}",  # SET, ids of jobs it made anew behind failed ones, looked at when it is over
    "acts_open": "acts-open",  # ZSET, act that is under way -> when it was last worked on, ms
    # --- what others read
    "events": "events:{stream}",  # STREAM {job, data}, of a tenant; "<tenant>!<batch>" of a batch's jobs
    "outbox": "outbox",  # STREAM {job, tenant, state} of terminal jobs whose owner wants a callback
    # --- limits and money
    "tenant": "tenant:{tenant}",  # HASH, written by farm.tenants.tenants: weight, max_open, max_running, rate_*
    "idem": "idem:{tenant}:{key}",  # STRING "job sha256" for 24 h
    "rate": "rate:{tenant}",  # STRING, theoretical arrival time of the next request, ms
    "credit": "credit:{tenant}",  # HASH {balance, held, spent} in micro-credits; audit_pos, audit_sum while one runs
    "statement": "statement:{tenant}",  # STREAM {kind, amount, job, balance, held, note}
    "topups": "topups:{tenant}",  # SET, references of top-ups that were booked
    # written by farm.storage.quota:
    "stored": "stored",  # HASH, tenant -> bytes of its inputs, uploads and results
    "rooms": "rooms-by-minute:{tenant}",  # HASH, minute (since the epoch) -> bytes of addresses that count until then
}

#: of other rooms, written by them alone: no script of the ledger reads these
OTHERS: dict[str, str] = {
    "tenants": "tenants",  # SET, ids of all tenants (farm.tenants)
    "tenant_keys": "tenant:{tenant}:keys",  # SET, ids of a tenant's API keys
    "api_key": "key:{id}",  # HASH, an API key without its secret
    "keys_used": "keys:used",  # HASH, API key id -> last day of use
    "session": "session:{hash}",  # HASH, a browser's session, by a hash of its secret (farm.tenants.sessions)
    "acts": "acts:{tenant}",  # STREAM, what a tenant's people did in the console; the newest (farm.tenants.activity)
    "secrets": "secrets:{tenant}",  # HASH, name -> encrypted secret
    "lora_tenants": "loras",  # SET, tenants that ever had a LoRA (farm.loras)
    "loras": "loras:{tenant}",  # HASH, LoRA id -> JSON
    "upload": "upload:{tenant}:{sha256}",  # STRING, hash of a file's name -> id of its last upload (farm.storage)
    "upload_ticket": "upload-ticket:{id}",  # STRING "tenant bytes" of an upload whose size was not said (farm.storage)
    "batch_files": "batch-files:{tenant}",  # HASH, id of a file of requests -> JSON (farm.batches.files)
}

#: of webhooks, written by the scripts of farm.webhooks alone. A receiver is "tenant|origin"
WEBHOOKS: dict[str, str] = {
    "hook": "hook:{id}",  # HASH, one delivery
    "hook_due": "hooks:due:{receiver}",  # ZSET, delivery id -> when it is due, ms
    "hook_leased": "hooks:leased:{receiver}",  # ZSET, delivery id that is being posted -> end of its lease, ms
    "hook_receivers": "hooks:receivers:{tenant}",  # ZSET, receiver -> when to look at it next, ms
    "hook_tenant_leased": "hooks:tenant-leased:{tenant}",  # ZSET, delivery id -> end of its lease, ms
    "hook_tenants": "hooks:tenants",  # ZSET, tenant -> when to look at it next, ms
    "hook_failures": "hooks:failures",  # HASH, receiver -> failures in a row
    "hook_dead": "hooks:dead:{tenant}",  # ZSET, dead letters: delivery id -> when it was given up, ms
    "hook_looked": "hooks:looked",  # STRING, when a worker last looked for what is due, ms
}

#: of providers, written by the scripts of farm.providers alone. An account is a provider's key by its name
PROVIDERS: dict[str, str] = {
    "provider": "provider:{provider}",  # HASH, its breaker, a shortage of all its accounts, what became of its jobs
    "provider_account": "provider:{provider}:key:{key}",  # HASH, rate, cap and shortage of one account
    "provider_slots": "provider:{provider}:slots:{key}",  # ZSET, nonce of a purchase -> when it is looked at, ms
    "provider_model": "provider:{provider}:model:{model}",  # HASH, what became of jobs of one model, decayed
}

_CALL = re.compile(r"\bKey\.([a-z_]+)\(")


class Keys:
    """`Keys("wf")("queue", pool, tenant)` is `wf:queue:<pool>:<tenant>`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._formats = _formats(prefix)

    def __call__(self, name: str, *parts: str) -> str:
        """A key with its parts filled in. Raises KeyError for one that nobody has named here."""
        return self._formats[name].format(*parts)

    def lua(self, name: str, arguments: list[str]) -> str:
        """A Lua expression for one key, of these expressions. Raises KeyError for a key that no script may name,
        ValueError for another number of arguments."""
        parts, given = _split((TEMPLATES | WEBHOOKS | PROVIDERS)[name]), iter(arguments)
        if sum(part.startswith("{") for part in parts) != len(arguments):
            raise ValueError(f"Key.{name}({', '.join(arguments)})")
        pieces, text = [], f"{self.prefix}:"
        for part in parts:
            if part.startswith("{"):
                pieces += [f"'{text}'", f"({next(given)})"] if text else [f"({next(given)})"]
                text = ""
            else:
                text += part
        if text:
            pieces.append(f"'{text}'")
        return f"({' .. '.join(pieces)})"

    def filled_in(self, script: str) -> str:
        """A Lua script with the name of the key in place of each `Key.queue(pool, tenant)`: a function for it would be
        made anew at each call of the script."""
        at = 0
        while call := _CALL.search(script, at):
            # what stands in its place may have such calls in it
            at = call.start()
            arguments, end = _arguments(script, call.end())
            script = script[: call.start()] + self.lua(call[1], arguments) + script[end:]
        return script


@cache
def _formats(prefix: str) -> Mapping[str, str]:
    return {
        name: f"{prefix}:" + "".join("{}" if part.startswith("{") else part for part in _split(template))
        for name, template in (TEMPLATES | OTHERS | WEBHOOKS | PROVIDERS).items()
    }


def _arguments(script: str, start: int) -> tuple[list[str], int]:
    """The arguments of the call whose opening bracket ends before `start`, and where the call ends."""
    depth, begin, found = 0, start, []
    for at in range(start, len(script)):
        if script[at] in "([{":
            depth += 1
        elif script[at] == "," and depth == 0:
            found.append(script[begin:at].strip())
            begin = at + 1
        elif script[at] in ")]}":
            if depth == 0:
                last = script[begin:at].strip()
                return [*found, last] if last else found, at + 1
            depth -= 1
    raise ValueError(script[start : start + 40])


def _split(template: str) -> list[str]:
    """`a:{b}` -> `["a:", "{b}"]`."""
    return [part for part in template.replace("{", "\0{").replace("}", "}\0").split("\0") if part]
