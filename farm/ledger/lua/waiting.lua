-- waiting(line): the tenants that wait in the line, TENANTS_MOST at most, a line of text for each: its name, virtual time, weight,
-- queued jobs and their GPU-milliseconds. For PICKED_MOST of them at most, others each time, also one of their jobs, whose forecast
-- is compared later with what became of it: its id, predicted seconds, place in the queue and lane.
-- uses: full clock fair
local TENANTS_MOST, PICKED_MOST = 2000, 50
local line, tenants, told = ARGV[1], {}, {}
local standing = redis.call('ZRANGE', Key.fair(line), 0, TENANTS_MOST - 1, 'WITHSCORES')
for n = 1, #standing, 2 do tenants[#tenants + 1] = standing[n] end
local queued_ms = fair_kept(Key.backlog(line), tenants, '')
fair_read_weights(line, tenants)
local every, turn = math.ceil(#tenants / PICKED_MOST), math.floor(NOW / 1000) * 7919
for n, tenant in ipairs(tenants) do
  local queued = redis.call('ZCARD', Key.queue(line, tenant))
  local one = {tenant, standing[2 * n], fair_weight(tenant), queued, queued_ms[n] or '0'}
  if queued > 0 and (n - 1 + turn) % every == 0 then
    -- near the head of the queue and far back, in turn
    local rank = turn % queued
    local job = redis.call('ZRANGE', Key.queue(line, tenant), rank, rank)[1]
    local known = redis.call('HMGET', Key.job(job), 'predicted_s', 'lane')
    one[6], one[7], one[8], one[9] = job, known[1] or '0', rank, known[2] or '-'
  end
  told[n] = table.concat(one, ' ')
end
return table.concat(told, '\n')
