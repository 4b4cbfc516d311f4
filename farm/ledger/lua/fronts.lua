-- fronts(line, each, tenant, ...): lane, predicted_s, priority, passes and deadline_ms of the first `each` jobs of each tenant's
-- queue, as JSON (farm.ledger.forecasts). It reads that many records: the caller bounds them.
local found = {}
for n = 3, #ARGV do
  local jobs = {}
  for at, id in ipairs(redis.call('ZRANGE', Key.queue(ARGV[1], ARGV[n]), 0, ARGV[2] - 1)) do
    jobs[at] = redis.call('HMGET', Key.job(id), 'lane', 'predicted_s', 'priority', 'passes', 'deadline_ms')
  end
  found[n - 2] = jobs
end
return cjson.encode(found)
