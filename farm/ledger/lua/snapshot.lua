-- snapshot(pool): what a forecast of the pool starts from, besides its lines (waiting.lua), as JSON (farm.ledger.forecasts). It looks
-- at RUNNING_MOST attempts at most.
-- uses: full clock tier limit permit
local RUNNING_MOST = 500
local pool = ARGV[1]

-- A text for each attempt: predicted seconds, since when it runs (ms), tier, 1 where its worker had nothing loaded else 0, tenant,
-- lane. Small tables would take twice as long.
local running = {}
for n, id in ipairs(redis.call('ZRANGE', Key.leases(pool), 0, RUNNING_MOST - 1)) do
  local record = redis.call('HMGET', Key.job(id), 'predicted_s', 'started_ms', 'tier', 'cold', 'tenant', 'lane')
  running[n] = table.concat({record[1] or '0', record[2] or NOW, record[3] or Tier.NORMAL, record[4] and '1' or '0',
    record[5] or '-', record[6] or '-'}, ' ')
end
return cjson.encode({at_ms = NOW, slots = workers_open(pool),
  at_work = redis.call('ZCARD', Key.leases(pool)), paused = limit_switched('pool', pool) and true or false, running = table.concat(running, '\n')})
