-- batch_stage(id, n, chunk JSON): keep the n-th chunk (from 1) of a batch that is being staged. Answers 1; 0 where the batch is
-- not staged, or not any more.
-- uses: clock
local id, n, chunk = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state, staged = unpack(redis.call('HMGET', Key.batch(id), 'state', 'staged'))
if state ~= Batch.STAGING then return 0 end
redis.call('SET', Key.chunk(id, n), chunk)
redis.call('HSET', Key.batch(id), 'staged', math.max(n, tonumber(staged)))
redis.call('ZADD', Key.batches_coming(), NOW, id)
return 1
