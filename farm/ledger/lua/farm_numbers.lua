-- farm_numbers(): what the exporter shows of the whole farm, as JSON (farm.ledger.farm_numbers). Reads sizes of lists and a
-- few records of each queue, never all jobs: it costs the same for a thousand jobs and for a million.
-- uses: full clock tier limit batch permit rate
local STATES = {State.WAITING, State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}
local REASONS = {HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY, HoldReason.PARKED}
-- a queue's score is (9 - priority) * BAND + deadline; BAND - 1 without one (lib/queue.lua)
local BAND = 4398046511104

-- Since when the job waits that has waited longest: of each priority the first without a deadline, which is the oldest
-- since ids follow time, and the first with one.
local function oldest_ms(key)
  local oldest, from = nil, '-inf'
  local function look(id)
    local since = tonumber(redis.call('HGET', Key.job(id), 'queued_ms') or redis.call('HGET', Key.job(id), 'created_ms') or NOW)
    if not oldest or since < oldest then oldest = since end
  end
  while true do
    local first = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[1] then return oldest end
    look(first[1])
    local last = (math.floor(tonumber(first[2]) / BAND) + 1) * BAND - 1
    last = string.format('%.0f', last)
    local plain = redis.call('ZRANGEBYSCORE', key, last, last, 'LIMIT', 0, 1)[1]
    if plain then look(plain) end
    from = '(' .. last
  end
end

local function states_of_workers(pool)
  local states = {}
  local counts = redis.call('HGETALL', Key.tally(pool))
  for n = 1, #counts, 2 do
    local state = string.match(counts[n], '^state (.+)$')
    if state then states[state] = tonumber(counts[n + 1]) end
  end
  return states
end

local pools, shares = {}, {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  local numbers = {pool = pool, slots = workers_slots(pool), queued = 0, queued_s = 0, open_s = 0,
    delayed = redis.call('ZCARD', Key.delayed(pool)), held = redis.call('ZCARD', Key.held(pool)),
    leases = redis.call('ZCARD', Key.leases(pool)), permits = redis.call('ZCARD', Key.permits(pool)),
    paused = limit_switched('pool', pool) and true or false, workers = states_of_workers(pool)}
  local seen = {}
  local function share(tenant)
    if not seen[tenant] then
      seen[tenant] = {pool = pool, tenant = tenant, queued = 0, open_s = 0, used_s = 0, ahead_s = {}}
      shares[#shares + 1] = seen[tenant]
    end
    return seen[tenant]
  end
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    local stored = redis.call('HGETALL', Key.share(line))
    for n = 1, #stored, 2 do
      local tenant, what = string.match(stored[n], '^([^|]+)|(%a+)$')
      if what == 'open' then
        share(tenant).open_s = share(tenant).open_s + tonumber(stored[n + 1])
        numbers.open_s = numbers.open_s + tonumber(stored[n + 1])
      elseif what == 'used' then
        share(tenant).used_s = share(tenant).used_s + tonumber(stored[n + 1])
      end
    end
    for _, ms in ipairs(redis.call('HVALS', Key.backlog(line))) do
      numbers.queued_s = numbers.queued_s + tonumber(ms) / 1000
    end
    local clock = tonumber(redis.call('HGET', Key.share(line), '|clock') or 0)
    local fair = redis.call('ZRANGE', Key.fair(line), 0, -1, 'WITHSCORES')
    for n = 1, #fair, 2 do
      local key = Key.queue(line, fair[n])
      local count = redis.call('ZCARD', key)
      if count > 0 then
        local oldest, own = oldest_ms(key), share(fair[n])
        own.queued, own.ahead_s[tier] = own.queued + count, tonumber(fair[n + 1]) - clock
        numbers.queued = numbers.queued + count
        numbers.oldest_ms = math.min(numbers.oldest_ms or oldest, oldest)
      end
    end
  end
  pools[#pools + 1] = numbers
end

local tenants = {}
for _, tenant in ipairs(redis.call('SMEMBERS', Key.owners())) do
  local kept = redis.call('HMGET', Key.tenant(tenant), 'weight', 'max_open')
  local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held', 'spent')
  local numbers = {tenant = tenant, weight = tonumber(kept[1] or 1), open_limit = tonumber(kept[2] or '') or Setting.MAX_OPEN,
    jobs = {}, held_for = {}, balance = account[1] and tonumber(account[1]) or nil,
    hold = account[2] and tonumber(account[2]) or nil, spent = account[3] and tonumber(account[3]) or nil}
  for _, state in ipairs(STATES) do numbers.jobs[state] = redis.call('ZCARD', Key.jobs(tenant, state)) end
  for _, reason in ipairs(REASONS) do numbers.held_for[reason] = redis.call('ZCARD', Key.holds(tenant, reason)) end
  local rate = rate_of(tenant)
  if rate then numbers.rate_burst, numbers.rate_remaining = rate.burst, rate_remaining(rate) end
  tenants[#tenants + 1] = numbers
end

-- Of batches the newest BATCHES_READ that are not over are read.
local BATCHES_READ = 200
local batches = {coming = redis.call('ZCARD', Key.batches_coming()), asked = redis.call('ZCARD', Key.batches_asked()),
  open = redis.call('ZCARD', Key.batches_open()), acts = redis.call('ZCARD', Key.acts_open()), jobs = {}}
for _, state in ipairs(STATES) do batches.jobs[state] = 0 end
for _, id in ipairs(redis.call('ZREVRANGE', Key.batches_open(), 0, BATCHES_READ - 1)) do
  for state, count in pairs((batch_counts(id))) do batches.jobs[state] = batches.jobs[state] + count end
end

local drift, found = {}, redis.call('HGETALL', Key.drift())
for n = 1, #found, 2 do drift[found[n]] = tonumber(found[n + 1]) end
local function age_s(key)
  local at = redis.call('GET', key)
  return at and math.max(0, NOW - tonumber(at)) / 1000 or nil
end
return cjson.encode({now_ms = NOW, pools = pools, shares = shares, tenants = tenants, drift = drift, batches = batches,
  outbox = redis.call('XLEN', Key.outbox()), reaped_s_ago = age_s(Key.reaped()), audited_s_ago = age_s(Key.audited())})
