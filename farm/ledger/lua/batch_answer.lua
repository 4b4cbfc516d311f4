-- batch_answer(id, JSON): keep what became of a batch that was asked for by a file (batch_ask.lua). The first answer stays.
-- Answers 1 where this is the first, else 0.
-- uses: full
local id, text = ARGV[1], ARGV[2]
if redis.call('ZREM', Key.batches_asked(), id) == 0 then return 0 end
redis.call('SET', Key.batch_asked(id), text, 'KEEPTTL')
return 1
