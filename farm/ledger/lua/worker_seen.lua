-- worker_seen(worker, pool, facts JSON, ttl_ms, slots, state, able as in lib/workforce.lua, memory or '', models or ''): the worker counts
-- as live for ttl_ms.
-- uses: full clock workforce
local worker, pool, facts, ttl_ms, slots, state, able, memory, models = unpack(ARGV)
local offer = memory .. '|' .. models
redis.call('SADD', Key.pools(), pool)
redis.call('ZADD', Key.workers(pool), NOW + tonumber(ttl_ms), worker)
redis.call('HSET', Key.facts(pool), worker, facts)
worker_note(pool, worker, slots .. ' ' .. state .. ' ' .. able .. ' ' .. offer)
redis.call('ZADD', Key.offered(pool), NOW, offer)
