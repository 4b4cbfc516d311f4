-- batch_flip(id, chunks): admit the batch, of which so many chunks were staged. From here on all of its jobs are placed,
-- whichever process dies, and a cancel is an act on them. Answers {'ok'}; {'known', id} where the same request came with its
-- idempotency key meanwhile; {'conflict'} where another request did; {'gone'} where it is not staged any more, or in another number
-- of chunks, or was asked for by a file and its owner has cancelled it.
-- uses: clock batch
local id, chunks = ARGV[1], ARGV[2]
local batch = redis.call('HMGET', Key.batch(id), 'state', 'tenant', 'staged', 'key', 'sha')
local state, tenant, key = batch[1], batch[2], batch[4]
if not state then return {'gone'} end
if state ~= Batch.STAGING then return {'ok'} end
if batch[3] ~= chunks then return {'gone'} end
if redis.call('EXISTS', Key.batch_asked(id)) == 1 then
  if redis.call('ZREM', Key.batches_asked(), id) == 0 then return {'gone'} end
  -- what was asked is kept as long as the batch (forget.lua)
  redis.call('PERSIST', Key.batch_asked(id))
end
if key ~= '' then
  local first, sha = batch_of_key(tenant, key)
  if first and first ~= id then return sha == batch[5] and {'known', first} or {'conflict'} end
  redis.call('SET', Key.batch_idem(tenant, key), id .. ' ' .. batch[5], 'EX', Setting.IDEMPOTENCY_S)
end
redis.call('HSET', Key.batch(id), 'state', Batch.PLACING, 'chunks', chunks, 'created_ms', NOW)
redis.call('ZADD', Key.batches(tenant), 0, id)
redis.call('ZADD', Key.batches_open(), NOW, id)
redis.call('ZADD', Key.batches_coming(), NOW, id)
return {'ok'}
