-- batch_drop(id, since ms or ''): remove a batch that is staged and not admitted, and release its hold. With `since` only where
-- nothing of it was staged for so many ms. Answers 1; 0 where nothing was removed.
-- uses: full clock job event batch money
local id, since = ARGV[1], tonumber(ARGV[2])
local state, tenant, staged = unpack(redis.call('HMGET', Key.batch(id), 'state', 'tenant', 'staged'))
if not state then
  redis.call('ZREM', Key.batches_coming(), id)
  return 0
end
if state ~= Batch.STAGING then return 0 end
local touched = tonumber(redis.call('ZSCORE', Key.batches_coming(), id) or 0)
if since and touched <= NOW and NOW - touched < since then return 0 end
local AT_ONCE = 500
for from = 1, tonumber(staged), AT_ONCE do
  local keys = {}
  for n = from, math.min(from + AT_ONCE - 1, tonumber(staged)) do keys[#keys + 1] = Key.chunk(id, n) end
  redis.call('UNLINK', unpack(keys))
end
local hold = redis.call('HGET', Key.reserved(tenant), id)
if hold then
  redis.call('HDEL', Key.reserved(tenant), id)
  redis.call('HINCRBY', Key.credit(tenant), 'held', 0 - tonumber(hold))
  money_note(tenant, Statement.RELEASE, hold, '', 'batch ' .. id .. ' was not admitted')
end
redis.call('HDEL', Key.coming(tenant), id)
redis.call('ZREM', Key.batches_coming(), id)
redis.call('DEL', Key.batch(id))
return 1
