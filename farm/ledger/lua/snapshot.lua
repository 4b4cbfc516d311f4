-- snapshot(pool): what a forecast of the pool starts from, as JSON (farm.ledger.forecasts). Its cost follows its tenants and the
-- RUNNING_MOST attempts that are looked at, not its jobs.
-- uses: full clock tier fair limit permit
local TENANTS_MOST, RUNNING_MOST = 2000, 500
local pool = ARGV[1]

local running = {}
for _, id in ipairs(redis.call('ZRANGE', Key.leases(pool), 0, RUNNING_MOST - 1)) do
  local record = redis.call('HMGET', Key.job(id), 'predicted_s', 'started_ms')
  running[#running + 1] = math.max(0, tonumber(record[1] or 0) - (NOW - tonumber(record[2] or NOW)) / 1000)
end

local lines = {}
for _, tier in ipairs(TIERS) do
  local line, waiting = tier_line(pool, tier), {}
  local standing = redis.call('ZRANGE', Key.fair(line), 0, TENANTS_MOST - 1, 'WITHSCORES')
  for n = 1, #standing, 2 do
    local tenant = standing[n]
    local queued = redis.call('ZCARD', Key.queue(line, tenant))
    -- one of its jobs, another each time, shallow and deep: what is foretold of it is compared with what becomes of it
    local rank = queued > 0 and math.floor(NOW / 1000) * 7919 % queued or 0
    local one = redis.call('ZRANGE', Key.queue(line, tenant), rank, rank)[1]
    waiting[#waiting + 1] = {tenant = tenant, time = tonumber(standing[n + 1]), weight = fair_weight(tenant),
      queued = queued, one = one, one_rank = rank,
      one_s = tonumber(one and redis.call('HGET', Key.job(one), 'predicted_s') or 0),
      queued_s = tonumber(redis.call('HGET', Key.backlog(line), tenant) or 0) / 1000}
  end
  lines[#lines + 1] = {tier = tier, waiting = waiting}
end
return cjson.encode({at_ms = NOW, pool = pool, slots = workers_slots(pool), running = running,
  at_work = redis.call('ZCARD', Key.leases(pool)), paused = limit_switched('pool', pool) and true or false, lines = lines})
