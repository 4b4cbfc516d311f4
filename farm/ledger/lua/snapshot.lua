-- snapshot(pool): what a forecast of the pool starts from, as JSON (farm.ledger.forecasts). Its cost follows its tenants and the
-- RUNNING_MOST attempts that are looked at, not its jobs. Of PICKED_MOST tenants of a line or less, others each time, a job is
-- named whose forecast is compared with what becomes of it.
-- uses: full clock tier fair limit permit
local TENANTS_MOST, RUNNING_MOST, PICKED_MOST = 2000, 500, 50
local pool = ARGV[1]

local running = {}
for _, id in ipairs(redis.call('ZRANGE', Key.leases(pool), 0, RUNNING_MOST - 1)) do
  local record = redis.call('HMGET', Key.job(id), 'predicted_s', 'started_ms', 'tenant', 'tier', 'cold')
  running[#running + 1] = {predicted_s = tonumber(record[1] or 0), tenant = record[3] or '', tier = record[4] or Tier.NORMAL,
    cold = record[5] and true or false, run_s = math.max(0, NOW - tonumber(record[2] or NOW)) / 1000}
end

local lines, turn = {}, math.floor(NOW / 1000) * 7919
for _, tier in ipairs(TIERS) do
  local line, waiting, backlog = tier_line(pool, tier), {}, {}
  local queued_ms = redis.call('HGETALL', Key.backlog(line))
  for n = 1, #queued_ms, 2 do backlog[queued_ms[n]] = tonumber(queued_ms[n + 1]) end
  local standing = redis.call('ZRANGE', Key.fair(line), 0, TENANTS_MOST - 1, 'WITHSCORES')
  local every = math.ceil(#standing / 2 / PICKED_MOST)
  for n = 1, #standing, 2 do
    local tenant = standing[n]
    local told = {tenant = tenant, time = tonumber(standing[n + 1]), weight = fair_weight(tenant),
      queued = redis.call('ZCARD', Key.queue(line, tenant)), queued_s = (backlog[tenant] or 0) / 1000}
    if told.queued > 0 and ((n - 1) / 2 + turn) % every == 0 then
      -- shallow and deep ones
      told.one_rank = turn % told.queued
      told.one = redis.call('ZRANGE', Key.queue(line, tenant), told.one_rank, told.one_rank)[1]
      told.one_s = tonumber(redis.call('HGET', Key.job(told.one), 'predicted_s') or 0)
    end
    waiting[#waiting + 1] = told
  end
  lines[#lines + 1] = {tier = tier, waiting = waiting}
end
return cjson.encode({at_ms = NOW, pool = pool, slots = workers_slots(pool), running = running,
  at_work = redis.call('ZCARD', Key.leases(pool)), paused = limit_switched('pool', pool) and true or false, lines = lines})
