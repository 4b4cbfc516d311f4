-- audit_purchases(nonce, ...): list those of these purchases that are open among the open ones, and no others. Answers how many
-- were listed wrongly.
-- uses: full clock
local wrong = 0
for _, nonce in ipairs(ARGV) do
  local record = redis.call('HMGET', Key.purchase(nonce), 'state', 'at_ms')
  local open, listed = record[1] == Purchase.OPEN, redis.call('ZSCORE', Key.purchases_open(), nonce)
  if open and not listed then
    redis.call('ZADD', Key.purchases_open(), record[2], nonce)
    wrong = wrong + 1
  elseif listed and not open then
    redis.call('ZREM', Key.purchases_open(), nonce)
    wrong = wrong + 1
  end
end
if wrong > 0 then redis.call('INCR', Key.purchases_moved()) end
return wrong
