-- Whether a worker holds a job: `needs` and `memory` are texts of farm.scheduling.memory_fit, which keeps the same rule. '' or nil, on
-- either side: unknown, so it does.
-- uses: clock
local function fits(needs, memory)
  if not needs or needs == '' or not memory or memory == '' then return true end
  local device, host, may_round = string.match(memory, '^(%d+):(%d+)(r?)$')
  for way_device, way_host, rounded in string.gmatch(needs, '(%d+):(%d+)(r?)') do
    if tonumber(way_device) <= tonumber(device) and tonumber(way_host) <= tonumber(host)
      and (rounded == '' or may_round == 'r') then return true end
  end
  return false
end

-- Whether another worker of the pool with enough memory was seen lately: it may be busy, or about to come back.
local function fits_another(needs, pool, worker)
  if not needs or needs == '' then return false end
  local known = redis.call('HGETALL', Key.memory(pool))
  for n = 1, #known, 2 do
    local seen_ms, memory = string.match(known[n + 1], '^(%d+) (%S+)$')
    -- stored before the clock went back: seen now at the latest
    if tonumber(seen_ms) > NOW then redis.call('HSET', Key.memory(pool), known[n], NOW .. ' ' .. memory) end
    if tonumber(seen_ms) < NOW - Setting.ELSEWHERE_MS then
      redis.call('HDEL', Key.memory(pool), known[n])
    elseif known[n] ~= worker and fits(needs, memory) then
      return true
    end
  end
  return false
end
