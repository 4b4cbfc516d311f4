-- worker_seen(worker, pool, facts JSON, ttl_ms, slots, memory or ''): the worker counts as live for ttl_ms.
-- uses: full clock
local worker, pool, facts, ttl_ms, slots, memory = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
redis.call('SADD', Key.pools(), pool)
redis.call('ZADD', Key.workers(pool), NOW + ttl_ms, worker)
redis.call('HSET', Key.facts(pool), worker, facts)
if slots == '1' then redis.call('HDEL', Key.slots(pool), worker) else redis.call('HSET', Key.slots(pool), worker, slots) end
if memory ~= '' then redis.call('HSET', Key.memory(pool), worker, NOW .. ' ' .. memory) end
