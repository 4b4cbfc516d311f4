-- farm_numbers(): pools, batches and what the audits found, as of one moment, as JSON (farm.ledger.farm_numbers). It costs the same
-- for a thousand jobs and for a million: of a tenant with jobs in a line it reads one number. What costs more for each tenant is
-- in farm.ledger.share_numbers, tenant_numbers.lua and oldest_queued.lua, each of which is asked about some tenants at a time.
-- uses: full clock tier limit batch permit states

local function states_of_workers(pool)
  local states = {}
  local counts = redis.call('HGETALL', Key.tally(pool))
  for n = 1, #counts, 2 do
    local state = string.match(counts[n], '^state (.+)$')
    if state then states[state] = tonumber(counts[n + 1]) end
  end
  return states
end

local pools = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  local queued_ms = 0
  for _, tier in ipairs(TIERS) do
    for _, ms in ipairs(redis.call('HVALS', Key.backlog(tier_line(pool, tier)))) do queued_ms = queued_ms + tonumber(ms) end
  end
  pools[#pools + 1] = {pool = pool, slots = workers_open(pool), queued_s = queued_ms / 1000,
    delayed = redis.call('ZCARD', Key.delayed(pool)), held = redis.call('ZCARD', Key.held(pool)),
    leases = redis.call('ZCARD', Key.leases(pool)), permits = redis.call('ZCARD', Key.permits(pool)),
    paused = limit_switched('pool', pool) and true or false, workers = states_of_workers(pool)}
end

-- Jobs are counted of the newest BATCHES_READ batches that are open.
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
return cjson.encode({now_ms = NOW, pools = pools, drift = drift, batches = batches,
  owners = redis.call('SMEMBERS', Key.owners()),
  outbox = redis.call('XLEN', Key.outbox()), reaped_s_ago = age_s(Key.reaped()), audited_s_ago = age_s(Key.audited())})
