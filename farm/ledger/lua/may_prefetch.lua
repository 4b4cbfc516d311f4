-- may_prefetch(pool, worker): 1 where a job could be claimed now and no other worker of the pool is idle and able to take the
-- first one, else 0. Costs the same for any number of workers.
-- uses: full clock tier limit permit fits workforce
local pool, worker = ARGV[1], ARGV[2]
if permit_claimable(pool, 1) == 0 then return 0 end

-- The needs and the model of the job that is first in line.
local function first()
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    local tenant = redis.call('ZRANGE', Key.fair(line), 0, 0)[1]
    local id = tenant and redis.call('ZRANGE', Key.queue(line, tenant), 0, 0)[1]
    if id then
      local needs, lane = unpack(redis.call('HMGET', Key.job(id), 'needs', 'lane'))
      return needs, lane and string.match(lane, '^[^@+]*')
    end
  end
end

workers_forget_gone(pool)
local needs, model = first()
local _, _, own_able, own = string.find(redis.call('HGET', Key.notes(pool), worker) or '', '^%d+ %S+ ([012]) (.*)$')
local free = redis.call('HGETALL', Key.free(pool))
for n = 1, #free, 2 do
  local memory, models = offer_parts(free[n])
  local others = tonumber(free[n + 1])
  -- this worker may have said that it is idle before it took its present job
  if own_able == '1' and free[n] == own then others = others - 1 end
  if others > 0 and fits(needs, memory)
    and (models == '' or not model or string.find(' ' .. models .. ' ', ' ' .. model .. ' ', 1, true)) then
    return 0
  end
end
return 1
