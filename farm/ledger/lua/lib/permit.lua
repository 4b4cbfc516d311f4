-- Permits: wake-up messages for the workers of a pool. No more are reserved than there are jobs to claim, nor than there are slots.
-- uses: clock limit workforce
local TENANTS_AT_ONCE, PERMITS_AT_ONCE = 16, 500

-- How many jobs could be claimed now, counted no further than `most`.
local function permit_claimable(pool, most)
  local count = 0
  if limit_switched('pool', pool) then return count end
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    for from = 0, most - 1, TENANTS_AT_ONCE do
      local tenants = redis.call('ZRANGE', Key.fair(line), from, math.min(from + TENANTS_AT_ONCE, most) - 1)
      for _, tenant in ipairs(tenants) do
        count = count + redis.call('ZCARD', Key.queue(line, tenant))
        if count >= most then return most end
      end
      if #tenants < TENANTS_AT_ONCE then break end
    end
  end
  return count
end

-- Reserve the permits that are missing, PERMITS_AT_ONCE at most, and append `id, pool` of each to `into`. A permit that no worker
-- took in time counts as lost only while a slot is free: while all are busy, it waits in the broker's queue. `heard_none`: a worker
-- says that it is free and heard of no permit, so a slot is free whatever the leases say. Where no worker is known, one permit is
-- reserved for a worker that is about to start.
local function permit_reserve(pool, into, heard_none)
  local capacity = workers_slots(pool)
  if heard_none or capacity > redis.call('ZCARD', Key.leases(pool)) then
    redis.call('ZREMRANGEBYSCORE', Key.permits(pool), '-inf', NOW - Setting.PERMIT_TTL_MS)
    -- stored before the clock went back
    redis.call('ZREMRANGEBYSCORE', Key.permits(pool), '(' .. NOW, '+inf')
  end
  local most, out = math.max(capacity, 1), redis.call('ZCARD', Key.permits(pool))
  -- as many are out as may ever be wanted: no need to count jobs
  if out >= most then return into end
  -- ten thousand at once would keep Redis busy for a tenth of a second: the next calls reserve the rest
  local missing = math.min(permit_claimable(pool, most) - out, PERMITS_AT_ONCE)
  if missing <= 0 then return into end
  local last, added = redis.call('INCRBY', Key.permit_seq(), missing), {}
  for id = last - missing + 1, last do
    local name = string.format('%d', id)
    added[#added + 1], added[#added + 2] = NOW, name
    into[#into + 1], into[#into + 2] = name, pool
  end
  redis.call('ZADD', Key.permits(pool), unpack(added))
  return into
end
