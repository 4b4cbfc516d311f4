-- lanes(): what was done lately and what waits, by pool and lane, as JSON (farm.ledger.lane_numbers). For operators: it looks at
-- the newest ENDED_MOST jobs that ended within an hour, and of each line at its first QUEUED_MOST jobs and each pool's first
-- LEASES_MOST leases, never at all jobs.
-- uses: full clock tier
local HOUR_MS, ENDED_MOST, QUEUED_MOST, LEASES_MOST = 3600000, 1000, 1000, 500
local lanes, known = {}, {}

local function lane_of(pool, lane)
  local name = pool .. '|' .. lane
  if not known[name] then
    known[name] = {pool = pool, lane = lane, queued = 0, running = 0, done = 0, failed = 0, seconds = 0}
    lanes[#lanes + 1] = known[name]
  end
  return known[name]
end

local ended = redis.call('ZREVRANGEBYSCORE', Key.ended(), '+inf', NOW - HOUR_MS, 'WITHSCORES', 'LIMIT', 0, ENDED_MOST)
local since = #ended == 2 * ENDED_MOST and tonumber(ended[#ended]) or NOW - HOUR_MS
for n = 1, #ended, 2 do
  local pool, lane, state, began = unpack(redis.call('HMGET', Key.job(ended[n]), 'pool', 'lane', 'state', 'started_ms'))
  if pool and lane and state == State.SUCCEEDED then
    local one = lane_of(pool, lane)
    one.done, one.seconds = one.done + 1, one.seconds + math.max(0, tonumber(ended[n + 1]) - tonumber(began or ended[n + 1])) / 1000
  elseif pool and lane and state == State.FAILED then
    lane_of(pool, lane).failed = lane_of(pool, lane).failed + 1
  end
end

local whole = true
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  for _, tier in ipairs(TIERS) do
    local line, left = tier_line(pool, tier), QUEUED_MOST
    for _, tenant in ipairs(redis.call('ZRANGE', Key.fair(line), 0, QUEUED_MOST - 1)) do
      if left <= 0 then break end
      local waiting = redis.call('ZRANGE', Key.queue(line, tenant), 0, left - 1)
      left = left - #waiting
      for _, id in ipairs(waiting) do
        local lane, queued_ms, created_ms = unpack(redis.call('HMGET', Key.job(id), 'lane', 'queued_ms', 'created_ms'))
        if lane then
          local one, at = lane_of(pool, lane), tonumber(queued_ms or created_ms or NOW)
          one.queued, one.oldest_ms = one.queued + 1, math.min(one.oldest_ms or at, at)
        end
      end
    end
    whole = whole and left > 0
  end
  for _, id in ipairs(redis.call('ZRANGE', Key.leases(pool), 0, LEASES_MOST - 1)) do
    local lane = redis.call('HGET', Key.job(id), 'lane')
    if lane then lane_of(pool, lane).running = lane_of(pool, lane).running + 1 end
  end
end
return cjson.encode({now_ms = NOW, since_ms = since, whole = whole, lanes = lanes})
