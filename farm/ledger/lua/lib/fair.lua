-- Fair share: start-time fair queueing over tenants, in each line of a pool (lib/tier.lua; `pool` is the line's name
-- here). So what ran in a tier above or below costs no share in this one. A tenant's virtual time is the GPU-seconds charged to it per unit
-- of weight; the least goes first. Key.fair has the tenants with queued jobs, Key.share every tenant's own time. The
-- pool's clock is the virtual time of the tenants that are next, counted by what they have used: predictions of running
-- attempts (`open`) do not move it, so that no newcomer pays for them. `used` adds up the GPU-seconds of attempts that
-- ended, for people: it decides nothing.
-- uses: tier
local function fair_weight(tenant)
  local weight = tonumber(redis.call('HGET', Key.tenant(tenant), 'weight') or 1)
  if not weight or weight ~= weight or weight <= 0 then return 1 end
  return math.max(weight, 0.001)
end

local function fair_number(pool, field)
  return tonumber(redis.call('HGET', Key.share(pool), field) or 0)
end

local function fair_set(pool, tenant, time)
  redis.call('HSET', Key.share(pool), tenant, time)
  redis.call('ZADD', Key.fair(pool), 'XX', time, tenant)
end

-- The tenant's weight. When it has changed, the tenant's lead over the pool's clock is converted to the new weight.
local function fair_reweigh(pool, tenant)
  local weight = fair_weight(tenant)
  local before = tonumber(redis.call('HGET', Key.share(pool), tenant .. '|weight') or '')
  if before == weight then return weight end
  redis.call('HSET', Key.share(pool), tenant .. '|weight', weight)
  local ahead = fair_number(pool, tenant) - fair_number(pool, '|clock')
  if before and ahead > 0 then
    fair_set(pool, tenant, fair_number(pool, '|clock') + ahead * before / weight)
  end
  return weight
end

-- Tenants far back in the order would not be looked at for long: a few at each claim, in turn.
local REWEIGHED = 8
local function fair_reweigh_some(pool)
  local count, at = redis.call('ZCARD', Key.fair(pool)), 0
  if count > REWEIGHED then at = redis.call('HINCRBY', Key.share(pool), '|reweighed', REWEIGHED) % count end
  for _, tenant in ipairs(redis.call('ZRANGE', Key.fair(pool), at, at + REWEIGHED - 1)) do fair_reweigh(pool, tenant) end
end

-- The tenant has queued jobs. One that comes back from idle starts at the pool's current virtual time: unused share
-- is not saved up. `lifted` remembers how far it was moved, for charges that are corrected later.
local function fair_enter(pool, tenant)
  if redis.call('ZSCORE', Key.fair(pool), tenant) then return end
  fair_reweigh(pool, tenant)
  local own, clock = fair_number(pool, tenant), fair_number(pool, '|clock')
  if own < clock then
    redis.call('HINCRBYFLOAT', Key.share(pool), tenant .. '|lifted', clock - own)
    own = clock
  end
  redis.call('HSET', Key.share(pool), tenant, own)
  redis.call('ZADD', Key.fair(pool), own, tenant)
end

local function fair_leave(pool, tenant)
  redis.call('ZREM', Key.fair(pool), tenant)
end

-- Charged seconds of attempts that run, or that stopped running.
local function fair_open(pool, tenant, seconds)
  redis.call('HSET', Key.share(pool), tenant .. '|open', math.max(0, fair_number(pool, tenant .. '|open') + seconds))
end

-- Charge a claim with its predicted seconds; intake is charged a second, a bought job nothing.
local function fair_charge(job, pool)
  if job.purchase then return end
  local weight, own = fair_reweigh(pool, job.tenant), fair_number(pool, job.tenant)
  local used = own - fair_number(pool, job.tenant .. '|open') / weight
  if used > fair_number(pool, '|clock') then redis.call('HSET', Key.share(pool), '|clock', used) end
  local seconds = 1
  if job.state ~= State.WAITING then
    seconds = job.predicted_s
    fair_open(pool, job.tenant, seconds)
  end
  fair_set(pool, job.tenant, own + seconds / weight)
  redis.call('HSET', Key.job(job.id), 'charged_s', seconds, 'vlifted', fair_number(pool, job.tenant .. '|lifted'))
end

-- The attempt took gpu_s instead of what was predicted. Where the tenant was lifted to the clock since, the lift had
-- made up for a charge that was too high, and takes in what was too low.
local function fair_correct(job, gpu_s)
  if job.state == State.WAITING or not job.charged_s then return end
  local line = tier_line(job.pool, job.tier)
  local correction = (gpu_s - job.charged_s) / fair_reweigh(line, job.tenant)
  local lifted = fair_number(line, job.tenant .. '|lifted') - (job.vlifted or 0)
  if lifted > 0 then correction = math.max(0, correction - lifted) end
  redis.call('HDEL', Key.job(job.id), 'charged_s', 'vlifted')
  fair_open(line, job.tenant, 0 - job.charged_s)
  redis.call('HINCRBYFLOAT', Key.share(line), job.tenant .. '|used', math.max(0, gpu_s))
  fair_set(line, job.tenant, fair_number(line, job.tenant) + correction)
end
