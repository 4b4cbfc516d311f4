-- switch(kind, name, pause: 1 or 0, who, why): an operator pauses a tenant, a lane (or a model: all its lanes), a pool, a worker or
-- a provider, or resumes it. Nothing of it starts while it is paused; what runs goes on. Answers {1 where that changed anything,
-- else 0; {permit, pool, ...}}.
-- uses: full clock tier fair limit permit operation
local kind, name, pause, who, why = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5]
local field = kind .. ' ' .. name
local was = limit_switched(kind, name)
operation_note(who, why, pause and 'pause' or 'resume', field, was and HoldReason.PAUSED or 'on',
  pause and HoldReason.PAUSED or 'on')
if was == pause then return {0, {}} end

local permits = {}
local function wake(pools)
  for pool in pairs(pools) do permit_reserve(pool, permits) end
end

local pools = redis.call('SMEMBERS', Key.pools())
if kind == 'worker' then
  for _, pool in ipairs(pools) do worker_locked(pool, name, pause and worker_slots(pool, name) or 0) end
end
if pause then
  limit_switch(kind, name, NOW)
  if kind ~= 'tenant' then return {1, permits} end
  for _, pool in ipairs(pools) do
    for _, tier in ipairs(TIERS) do
      local line = tier_line(pool, tier)
      if redis.call('ZSCORE', Key.fair(line), name) and limit_binds(pool, tier, name) then limit_aside(line, name) end
    end
  end
else
  limit_switch(kind, name)
  if kind == 'tenant' then
    wake(limit_review(name))
  elseif kind == 'provider' then
    -- no worker of a pool waits for a provider
  elseif kind == 'pool' then
    wake({[name] = true})
  else
    for _, pool in ipairs(pools) do permit_reserve(pool, permits) end
  end
end
return {1, permits}
