-- lanes_queued(line): jobs that wait in a line, by lane. Answers {1 where all of them were looked at, else 0; lane, how many of its
-- jobs, since when the oldest of them waits (ms), ...}. It looks at the first MOST jobs, tenant by tenant in the order of their
-- turns.
-- uses: full clock
local MOST, line = 1000, ARGV[1]
local names, queued, oldest, left = {}, {}, {}, MOST
for _, tenant in ipairs(redis.call('ZRANGE', Key.fair(line), 0, MOST - 1)) do
  if left <= 0 then break end
  local waiting = redis.call('ZRANGE', Key.queue(line, tenant), 0, left - 1)
  left = left - #waiting
  for _, id in ipairs(waiting) do
    local lane, queued_ms, created_ms = unpack(redis.call('HMGET', Key.job(id), 'lane', 'queued_ms', 'created_ms'))
    if lane then
      local since = tonumber(queued_ms or created_ms or NOW)
      if not queued[lane] then names[#names + 1], queued[lane], oldest[lane] = lane, 0, since end
      queued[lane], oldest[lane] = queued[lane] + 1, math.min(oldest[lane], since)
    end
  end
end
local answer = {left > 0 and 1 or 0}
for _, lane in ipairs(names) do
  answer[#answer + 1] = lane
  answer[#answer + 1] = queued[lane]
  answer[#answer + 1] = oldest[lane]
end
return answer
