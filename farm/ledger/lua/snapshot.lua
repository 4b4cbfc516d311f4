-- snapshot(pool): what a forecast of the pool starts from, as JSON (farm.ledger.forecasts). Its cost follows its tenants and the
-- RUNNING_MOST attempts that are looked at, not its jobs. Of PICKED_MOST tenants of a line or less, others each time, a job is
-- named whose forecast is compared with what becomes of it.
-- uses: full clock tier fair limit permit
local TENANTS_MOST, RUNNING_MOST, PICKED_MOST = 2000, 500, 50
local pool = ARGV[1]

-- A text for each attempt: predicted seconds, since when it runs (ms), tier, 1 where its worker had nothing loaded, tenant. A
-- thousand small tables would take twice as long.
local running = {}
for n, id in ipairs(redis.call('ZRANGE', Key.leases(pool), 0, RUNNING_MOST - 1)) do
  local record = redis.call('HMGET', Key.job(id), 'predicted_s', 'started_ms', 'tier', 'cold', 'tenant')
  running[n] = table.concat({record[1] or '0', record[2] or NOW, record[3] or Tier.NORMAL, record[4] and '1' or '0',
    record[5] or '-'}, ' ')
end

-- The same of each tenant that waits: its name, virtual time, weight, queued jobs, their GPU-milliseconds; of one that is picked
-- also the job, its predicted seconds and its place.
local lines, turn = {}, math.floor(NOW / 1000) * 7919
for _, tier in ipairs(TIERS) do
  local line, waiting, tenants = tier_line(pool, tier), {}, {}
  local standing = redis.call('ZRANGE', Key.fair(line), 0, TENANTS_MOST - 1, 'WITHSCORES')
  for n = 1, #standing, 2 do tenants[#tenants + 1] = standing[n] end
  local queued_ms = fair_kept(Key.backlog(line), tenants, '')
  fair_read_weights(line, tenants)
  local every = math.ceil(#tenants / PICKED_MOST)
  for n, tenant in ipairs(tenants) do
    local queued = redis.call('ZCARD', Key.queue(line, tenant))
    local told = {tenant, standing[2 * n], fair_weight(tenant), queued, queued_ms[n] or '0'}
    if queued > 0 and (n - 1 + turn) % every == 0 then
      -- shallow and deep ones
      local rank = turn % queued
      local one = redis.call('ZRANGE', Key.queue(line, tenant), rank, rank)[1]
      told[6], told[7], told[8] = one, redis.call('HGET', Key.job(one), 'predicted_s') or '0', rank
    end
    waiting[n] = table.concat(told, ' ')
  end
  lines[#lines + 1] = table.concat(waiting, '\n')
end
return cjson.encode({at_ms = NOW, slots = workers_slots(pool), at_work = redis.call('ZCARD', Key.leases(pool)),
  paused = limit_switched('pool', pool) and true or false, running = table.concat(running, '\n'), lines = lines})
