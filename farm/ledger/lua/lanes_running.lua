-- lanes_running(pool): jobs that run, by lane, among the MOST leases of the pool that end first. Answers {lane, how many of its
-- jobs, ...}.
local MOST, names, running = 500, {}, {}
for _, id in ipairs(redis.call('ZRANGE', Key.leases(ARGV[1]), 0, MOST - 1)) do
  local lane = redis.call('HGET', Key.job(id), 'lane')
  if lane then
    if not running[lane] then names[#names + 1], running[lane] = lane, 0 end
    running[lane] = running[lane] + 1
  end
end
local answer = {}
for _, lane in ipairs(names) do
  answer[#answer + 1] = lane
  answer[#answer + 1] = running[lane]
end
return answer
