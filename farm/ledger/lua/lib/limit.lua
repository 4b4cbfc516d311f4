-- What keeps a tenant from starting more in a pool: an operator's pause, or a cap on its running jobs. Such a tenant is
-- taken out of its lines. Key.aside has the lines that it comes back to, each with the virtual time that the line has then.
-- uses: tier fair
-- seldom: limit_review
-- Most of the time nothing is paused: asked once per script.
local switches
local function limit_switched(kind, name)
  if switches == nil then switches = redis.call('EXISTS', Key.switches()) == 1 end
  return switches and redis.call('HEXISTS', Key.switches(), kind .. ' ' .. name) == 1
end

local function limit_switch(kind, name, since_ms)
  switches = nil
  if since_ms then
    redis.call('HSET', Key.switches(), kind .. ' ' .. name, since_ms)
  else
    redis.call('HDEL', Key.switches(), kind .. ' ' .. name)
  end
end

-- The tenant's caps on running jobs, of the farm and of this pool, read once per script, and its weight with them.
local caps_read = {}
local function limit_caps(pool, tenant)
  local read = pool .. ' ' .. tenant
  if not caps_read[read] then
    local caps = redis.call('HMGET', Key.tenant(tenant), 'max_running', 'max_running|' .. pool, 'weight')
    fair_told_weight(tenant, caps[3])
    caps_read[read] = {most = tonumber(caps[1] or ''), most_here = tonumber(caps[2] or '')}
  end
  return caps_read[read]
end

-- Its attempts at renders of our own, in every pool.
local function limit_busy(tenant)
  local count = 0
  for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
    count = count + redis.call('ZCARD', Key.busy(pool, tenant))
  end
  return count
end

-- Limit.PAUSED, Limit.POOL_CAP, Limit.CAP or nil. Inputs are fetched and bought jobs looked after in any case; what is
-- urgent has no cap. `busy`: limit_busy, where the caller knows it.
local function limit_binds(pool, tier, tenant, busy)
  if pool == Setting.INTAKE_POOL or pool == Setting.BURST_POOL then return nil end
  if limit_switched('tenant', tenant) then return Limit.PAUSED end
  if tier == Tier.URGENT then return nil end
  local caps = limit_caps(pool, tenant)
  if caps.most_here and redis.call('ZCARD', Key.busy(pool, tenant)) >= caps.most_here then return Limit.POOL_CAP end
  if caps.most and (busy or limit_busy(tenant)) >= caps.most then return Limit.CAP end
  return nil
end

local function limit_aside(line, tenant)
  fair_leave(line, tenant)
  redis.call('SADD', Key.aside(tenant), line)
  redis.call('SADD', Key.set_aside(), tenant)
end

-- An attempt of the tenant began: it leaves the lines of the pool in which a cap keeps it now.
local function limit_taken(pool, tenant)
  local caps = limit_caps(pool, tenant)
  if not caps.most and not caps.most_here then return end
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    if redis.call('ZSCORE', Key.fair(line), tenant) and limit_binds(pool, tier, tenant) then limit_aside(line, tenant) end
  end
end

-- The tenant has jobs in the queue of this line: its turn comes, or it stands aside.
local function limit_enter(line, tenant)
  local pool, tier = tier_of_line(line)
  if limit_binds(pool, tier, tenant) then return limit_aside(line, tenant) end
  redis.call('SREM', Key.aside(tenant), line)
  fair_enter(line, tenant)
end

-- Whether nothing keeps the tenant any more is asked again for each line that it left. Answers {pool = true, ...} of
-- those that it came back to.
local function limit_review(tenant)
  local pools, busy = {}, limit_busy(tenant)
  local lines = redis.call('SMEMBERS', Key.aside(tenant))
  table.sort(lines)
  for _, line in ipairs(lines) do
    local pool, tier = tier_of_line(line)
    if not limit_binds(pool, tier, tenant, busy) then
      redis.call('SREM', Key.aside(tenant), line)
      if redis.call('EXISTS', Key.queue(line, tenant)) == 1 then
        fair_enter(line, tenant)
        pools[pool] = true
      end
    end
  end
  if redis.call('EXISTS', Key.aside(tenant)) == 0 then redis.call('SREM', Key.set_aside(), tenant) end
  return pools
end

-- An attempt of the tenant ended.
local function limit_freed(pool, tenant, id)
  if redis.call('ZREM', Key.busy(pool, tenant), id) == 1 and redis.call('SISMEMBER', Key.set_aside(), tenant) == 1 then
    limit_review(tenant)
  end
end
