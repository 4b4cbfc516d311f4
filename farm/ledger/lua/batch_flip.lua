-- batch_flip(id, chunks): admit the batch, of which so many chunks were staged. From here on all of its jobs are placed,
-- whichever process dies. Answers {'ok'}; {'known', id} where another batch came with its idempotency key meanwhile; {'gone'}
-- where it is not staged any more, or in another number of chunks.
-- uses: clock batch
local id, chunks = ARGV[1], ARGV[2]
local batch = redis.call('HMGET', Key.batch(id), 'state', 'tenant', 'staged', 'key', 'sha')
local state, tenant, key = batch[1], batch[2], batch[4]
if not state then return {'gone'} end
if state ~= Batch.STAGING then return {'ok'} end
if batch[3] ~= chunks then return {'gone'} end
if key ~= '' then
  local known = redis.call('GET', Key.batch_idem(tenant, key))
  local first = string.match(known or '', '^%S+')
  if first and first ~= id and redis.call('EXISTS', Key.batch(first)) == 1 then return {'known', first} end
  redis.call('SET', Key.batch_idem(tenant, key), id .. ' ' .. batch[5], 'EX', Setting.IDEMPOTENCY_S)
end
redis.call('HSET', Key.batch(id), 'state', Batch.PLACING, 'chunks', chunks, 'created_ms', NOW)
redis.call('ZADD', Key.batches(tenant), 0, id)
redis.call('ZADD', Key.batches_open(), NOW, id)
redis.call('ZADD', Key.batches_coming(), NOW, id)
return {'ok'}
