-- Fair share: start-time fair queueing over tenants, in each line of a pool (lib/tier.lua; `pool` is the line's name here). So
-- what ran in another tier costs no share in this one. A tenant's virtual time is the GPU-seconds charged to it, divided by its
-- weight; the tenant with the least goes first. Key.fair has the tenants with queued jobs, Key.share the time of every tenant.
-- The line's clock is the virtual time of the tenant that is next, without the predictions of its running attempts (`open`): so
-- no newcomer pays for what was only predicted. `used` adds up the GPU-seconds of attempts that ended; it is shown and decides
-- nothing.
-- uses: tier
-- Weights, read once per script. A caller that has read one may tell it.
local weights_read = {}
local function fair_told_weight(tenant, text)
  local weight = tonumber(text or 1)
  if not weight or weight ~= weight or weight <= 0 then weight = 1 end
  weights_read[tenant] = math.max(weight, 0.001)
end

local function fair_weight(tenant)
  if not weights_read[tenant] then fair_told_weight(tenant, redis.call('HGET', Key.tenant(tenant), 'weight')) end
  return weights_read[tenant]
end

-- What a hash keeps of each of many tenants, under its name and `suffix`; false where it keeps nothing. In few calls.
local TENANTS_AT_ONCE = 1000
local function fair_kept(key, tenants, suffix)
  local found = {}
  for from = 1, #tenants, TENANTS_AT_ONCE do
    local fields = {}
    for n = from, math.min(from + TENANTS_AT_ONCE - 1, #tenants) do fields[#fields + 1] = tenants[n] .. suffix end
    for n, value in ipairs(redis.call('HMGET', key, unpack(fields))) do found[from + n - 1] = value end
  end
  return found
end

-- For explanations and forecasts: take the weights by which these tenants are counted in the line. A new weight is among them once
-- reweigh.lua, or a charge, has looked at the tenant.
local function fair_read_weights(line, tenants)
  for n, weight in ipairs(fair_kept(Key.share(line), tenants, '|weight')) do
    if weight then fair_told_weight(tenants[n], weight) end
  end
end

-- What Key.share keeps of a tenant, and the line's clock.
local function fair_state(pool, tenant)
  local kept = redis.call('HMGET', Key.share(pool), tenant, tenant .. '|weight', tenant .. '|open', tenant .. '|lifted',
    '|clock', '|charges')
  return {time = tonumber(kept[1] or 0), weight = tonumber(kept[2] or ''), open = tonumber(kept[3] or 0),
    lifted = tonumber(kept[4] or 0), clock = tonumber(kept[5] or 0), charges = tonumber(kept[6] or 0)}
end

-- The tenant's weight. When it has changed, the lead of `state` over the line's clock is converted to the new weight.
local function fair_converted(tenant, state)
  local weight = fair_weight(tenant)
  local lead = state.time - state.clock
  if state.weight and state.weight ~= weight and lead > 0 then state.time = state.clock + lead * state.weight / weight end
  return weight
end

local function fair_reweigh(pool, tenant)
  local state = fair_state(pool, tenant)
  local before = state.time
  local weight = fair_converted(tenant, state)
  redis.call('HSET', Key.share(pool), tenant .. '|weight', weight)
  if state.time == before then return end
  redis.call('HSET', Key.share(pool), tenant, state.time)
  redis.call('ZADD', Key.fair(pool), 'XX', state.time, tenant)
end

-- A tenant far back in the order would keep its old weight for long: each charge looks at one tenant, in turn.
local function fair_reweigh_next(pool, charges)
  local at = charges % math.max(1, redis.call('ZCARD', Key.fair(pool)))
  local tenant = redis.call('ZRANGE', Key.fair(pool), at, at)[1]
  if not tenant then return end
  local known = tonumber(redis.call('HGET', Key.share(pool), tenant .. '|weight') or '')
  if known ~= fair_weight(tenant) then fair_reweigh(pool, tenant) end
end

-- The tenant has queued jobs. One that comes back from idle starts at the line's clock: an unused share is not saved up. `lifted`
-- adds up how far it was moved so, for charges that are corrected later.
local function fair_enter(pool, tenant)
  if redis.call('ZSCORE', Key.fair(pool), tenant) then return end
  local state = fair_state(pool, tenant)
  local weight = fair_converted(tenant, state)
  if state.time < state.clock then
    state.lifted = state.lifted + state.clock - state.time
    state.time = state.clock
  end
  redis.call('HSET', Key.share(pool), tenant, state.time, tenant .. '|weight', weight, tenant .. '|lifted', state.lifted)
  redis.call('ZADD', Key.fair(pool), state.time, tenant)
end

local function fair_leave(pool, tenant)
  redis.call('ZREM', Key.fair(pool), tenant)
end

-- Charge the tenant for a claim: the predicted seconds of a render, one second for an intake, nothing for a bought job. Sets
-- charged_s and vlifted of the job, which the caller stores.
local function fair_charge(job, pool)
  if job.purchase then return end
  local tenant = job.tenant
  local state = fair_state(pool, tenant)
  fair_reweigh_next(pool, state.charges)
  local weight = fair_converted(tenant, state)
  local clock = math.max(state.clock, state.time - state.open / weight)
  local seconds = 1
  if job.state ~= State.WAITING then
    seconds = job.predicted_s
    state.open = math.max(0, state.open + seconds)
  end
  state.time = state.time + seconds / weight
  job.charged_s, job.vlifted = seconds, state.lifted
  local changed = {tenant, state.time, tenant .. '|open', state.open, '|charges', state.charges + 1}
  local function also(name, value)
    changed[#changed + 1] = name
    changed[#changed + 1] = value
  end
  if weight ~= state.weight then also(tenant .. '|weight', weight) end
  if clock > state.clock or state.charges == 0 then also('|clock', clock) end
  redis.call('HSET', Key.share(pool), unpack(changed))
  redis.call('ZADD', Key.fair(pool), 'XX', state.time, tenant)
end

-- The attempt took gpu_s, and its tenant was charged what was predicted: correct the charge. Where the tenant was lifted to the
-- clock since, it paid the length of the lift already: only what was used beyond it is added, and nothing is given back.
local function fair_correct(job, gpu_s)
  if not job.charged_s then return end
  if job.state == State.WAITING then
    -- the second of an intake stays charged; the render that follows is charged anew
    redis.call('HDEL', Key.job(job.id), 'charged_s', 'vlifted')
    return
  end
  local line, tenant = tier_line(job.pool, job.tier), job.tenant
  local state = fair_state(line, tenant)
  local weight = fair_converted(tenant, state)
  local correction, lifted = (gpu_s - job.charged_s) / weight, state.lifted - (job.vlifted or 0)
  if lifted > 0 then correction = math.max(0, correction - lifted) end
  state.time = state.time + correction
  redis.call('HDEL', Key.job(job.id), 'charged_s', 'vlifted')
  redis.call('HINCRBYFLOAT', Key.share(line), tenant .. '|used', math.max(0, gpu_s))
  redis.call('HSET', Key.share(line), tenant, state.time, tenant .. '|weight', weight,
    tenant .. '|open', math.max(0, state.open - job.charged_s))
  redis.call('ZADD', Key.fair(line), 'XX', state.time, tenant)
end
