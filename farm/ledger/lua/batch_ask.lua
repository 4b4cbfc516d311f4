-- batch_ask(id, tenant, JSON): keep that a batch is asked for by a file, which is read later. It is in its tenant's list of
-- batches from now on.
-- uses: clock
local id, tenant, text = ARGV[1], ARGV[2], ARGV[3]
redis.call('SET', Key.batch_asked(id), text, 'EX', Setting.ASKED_KEPT_S)
redis.call('ZADD', Key.batches(tenant), 0, id)
redis.call('ZADD', Key.batches_asked(), NOW, id)
redis.call('SADD', Key.owners(), tenant)
