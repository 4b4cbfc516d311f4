-- Whether a worker's memory holds a job. `needs` and `memory` are texts of farm.scheduling.memory_fit, which has the same rule.
-- Where one of them is unknown ('' or nil), the job is taken to fit.
-- uses: clock workforce
local function fits(needs, memory)
  if not needs or needs == '' or not memory or memory == '' then return true end
  local device, host, may_round = string.match(memory, '^(%d+):(%d+)(r?)$')
  for way_device, way_host, rounded in string.gmatch(needs, '(%d+):(%d+)(r?)') do
    if tonumber(way_device) <= tonumber(device) and tonumber(way_host) <= tonumber(host)
      and (rounded == '' or may_round == 'r') then return true end
  end
  return false
end

-- Whether another worker of the pool with enough memory was seen within ELSEWHERE_MS: it may be busy, or about to come back.
local function fits_another(needs, pool, worker)
  if not needs or needs == '' then return false end
  local _, own = worker_slots(pool, worker)
  redis.call('ZREMRANGEBYSCORE', Key.offered(pool), '-inf', NOW - Setting.ELSEWHERE_MS - 1)
  local known = redis.call('ZRANGE', Key.offered(pool), 0, -1, 'WITHSCORES')
  for n = 1, #known, 2 do
    local offer = known[n]
    -- in the future: the clock went back since, and now counts instead
    if tonumber(known[n + 1]) > NOW then redis.call('ZADD', Key.offered(pool), NOW, offer) end
    local memory = offer_parts(offer)
    if memory ~= '' and fits(needs, memory)
      and (offer ~= own or tonumber(redis.call('HGET', Key.offers(pool), offer) or 0) > 1) then return true end
  end
  return false
end
