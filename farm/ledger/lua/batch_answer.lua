-- batch_answer(id, JSON): what became of it, once: the first answer stays. Answers 1 where this was the first.
-- uses: full
local id, text = ARGV[1], ARGV[2]
if redis.call('ZREM', Key.batches_asked(), id) == 0 then return 0 end
redis.call('SET', Key.batch_asked(id), text, 'KEEPTTL')
return 1
