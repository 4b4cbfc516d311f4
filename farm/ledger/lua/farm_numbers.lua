-- farm_numbers(): pools, shares of tenants, batches and what the audits found, as of one moment, as JSON
-- (farm.ledger.farm_numbers). It costs the same for a thousand jobs and for a million; of a tenant with queued jobs it reads two
-- numbers. What costs more for each tenant is in tenant_numbers.lua and oldest_queued.lua, which are asked for some at a time.
-- uses: full clock tier fair limit batch permit states

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
      local count = redis.call('ZCARD', Key.queue(line, fair[n]))
      if count > 0 then
        local own = share(fair[n])
        own.queued, own.ahead_s[tier], own.weight = own.queued + count, tonumber(fair[n + 1]) - clock, fair_weight(fair[n])
        numbers.queued = numbers.queued + count
      end
    end
  end
  pools[#pools + 1] = numbers
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
return cjson.encode({now_ms = NOW, pools = pools, shares = shares, drift = drift, batches = batches,
  owners = redis.call('SMEMBERS', Key.owners()),
  outbox = redis.call('XLEN', Key.outbox()), reaped_s_ago = age_s(Key.reaped()), audited_s_ago = age_s(Key.audited())})
