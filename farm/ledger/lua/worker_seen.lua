-- worker_seen(worker, pool, facts JSON, ttl_ms, mark of what it tells (farm.ledger.workforce.mark), slots, state, able as in
-- lib/workforce.lua, memory or '', models or ''): the worker announces itself, and counts as live for ttl_ms.
-- uses: full clock workforce
local worker, pool, facts, ttl_ms, mark, slots, state, able, memory, models = unpack(ARGV)
local offer = memory .. '|' .. models
-- 1: the worker is new, and its pool may be
if redis.call('ZADD', Key.workers(pool), NOW + tonumber(ttl_ms), worker) == 1 then redis.call('SADD', Key.pools(), pool) end
redis.call('HSET', Key.facts(pool), worker, facts)
redis.call('HSET', Key.marks(pool), worker, mark)
worker_note(pool, worker, slots .. ' ' .. state .. ' ' .. able .. ' ' .. offer)
redis.call('ZADD', Key.offered(pool), NOW, offer)
