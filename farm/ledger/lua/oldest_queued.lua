-- oldest_queued(line, tenant, line, tenant, ...): of each pair, since when the oldest job of the tenant's queue in that line waits,
-- ms; false where the queue is empty.
-- uses: full clock queue

-- The earliest of some, so that a long queue is not read whole: of each priority the first job without a deadline, which is the
-- oldest of those since ids follow time, and the one with the earliest deadline, which may be younger than others with one.
local function oldest_ms(key)
  local oldest, from = nil, '-inf'
  local function look(id)
    local since = tonumber(redis.call('HGET', Key.job(id), 'queued_ms') or redis.call('HGET', Key.job(id), 'created_ms') or NOW)
    if not oldest or since < oldest then oldest = since end
  end
  while true do
    local first = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[1] then return oldest end
    look(first[1])
    local last = (math.floor(tonumber(first[2]) / QUEUE_BAND) + 1) * QUEUE_BAND - 1
    last = string.format('%.0f', last)
    local plain = redis.call('ZRANGEBYSCORE', key, last, last, 'LIMIT', 0, 1)[1]
    if plain then look(plain) end
    from = '(' .. last
  end
end

local found = {}
for n = 1, #ARGV, 2 do found[#found + 1] = oldest_ms(Key.queue(ARGV[n], ARGV[n + 1])) or false end
return found
