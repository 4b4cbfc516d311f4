-- Fair share: start-time fair queueing over tenants. A tenant's virtual time is the GPU-seconds charged to it per unit
-- of weight; the least goes first. Key.fair has the tenants with queued jobs, Key.share every tenant's own time.
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

-- The tenant has queued jobs. One that comes back from idle starts at the pool's current virtual time: what it did not
-- use is not saved up. `lifted` remembers how far it was moved, for charges that are corrected later.
local function fair_enter(pool, tenant)
  if redis.call('ZSCORE', Key.fair(pool), tenant) then return end
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

-- Charge a claim with its predicted seconds; intake costs a second of nobody's GPU.
local function fair_charge(job, pool)
  local own = fair_number(pool, job.tenant)
  if own > fair_number(pool, '|clock') then redis.call('HSET', Key.share(pool), '|clock', own) end
  local seconds = job.predicted_s
  if job.state == State.WAITING then seconds = 1 end
  local charge = seconds / fair_weight(job.tenant)
  fair_set(pool, job.tenant, own + charge)
  redis.call('HSET', Key.job(job.id), 'vcharge', charge, 'vlifted', fair_number(pool, job.tenant .. '|lifted'))
end

-- The attempt took gpu_s instead of what was predicted. Where the tenant was lifted to the clock since, the lift had
-- made up for a charge that was too high, and takes in what was too low.
local function fair_correct(job, gpu_s)
  if job.state == State.WAITING or not job.vcharge then return end
  local correction = gpu_s / fair_weight(job.tenant) - job.vcharge
  local lifted = fair_number(job.pool, job.tenant .. '|lifted') - (job.vlifted or 0)
  if lifted > 0 then correction = math.max(0, correction - lifted) end
  redis.call('HDEL', Key.job(job.id), 'vcharge', 'vlifted')
  fair_set(job.pool, job.tenant, fair_number(job.pool, job.tenant) + correction)
end
