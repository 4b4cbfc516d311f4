-- No reap ran for a while: Redis may have been away, so that no lease could be renewed. Every attempt gets one more lease, once.
-- Ten thousand are too many for one call: Key.grace keeps which leases get one, those that end before 'until', and for each pool
-- the end of the last lease that was looked at.
-- uses: clock
local function grace_begin()
  redis.call('DEL', Key.grace())
  redis.call('HSET', Key.grace(), 'until', NOW + Setting.LEASE_MS)
end

-- Look at `left` leases at most. Answers how many more this call may look at; 0: there may be more leases.
local function grace_give(pools, left)
  local to_ms = redis.call('HGET', Key.grace(), 'until')
  if not to_ms then return left end
  for _, pool in ipairs(pools) do
    local from = redis.call('HGET', Key.grace(), 'pool ' .. pool) or '-inf'
    -- a lease that was renewed, or got its grace, ends later
    local found = redis.call('ZRANGEBYSCORE', Key.leases(pool), from, '(' .. to_ms, 'WITHSCORES', 'LIMIT', 0, left)
    for n = 1, #found, 2 do
      local key = Key.job(found[n])
      if redis.call('EXISTS', key) == 1 and redis.call('HSETNX', key, 'graced', 1) == 1 then
        redis.call('ZADD', Key.leases(pool), 'XX', NOW + Setting.LEASE_MS, found[n])
      end
    end
    left = left - #found / 2
    if left <= 0 then
      local last, whole = found[#found], found[#found] == from
      redis.call('HSET', Key.grace(), 'pool ' .. pool, whole and '(' .. last or last)
      return 0
    end
  end
  redis.call('DEL', Key.grace())
  return left
end
