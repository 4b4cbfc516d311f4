-- topup(tenant, amount, note, reference): book an amount in micro-credits, once for each reference; the first one opens the
-- account. Answers {1, balance, held}, also where it was booked before; {0, balance, held} where a negative amount would take
-- what is held.
-- uses: money
local tenant, amount, note, reference = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held')
local balance, held = tonumber(account[1] or 0), tonumber(account[2] or 0)
if redis.call('SISMEMBER', Key.topups(tenant), reference) == 1 then return {1, balance, held} end
if amount < 0 and balance + amount < held then return {0, balance, held} end
redis.call('SADD', Key.topups(tenant), reference)
redis.call('HSET', Key.credit(tenant), 'balance', balance + amount, 'held', held)
money_note(tenant, Statement.TOPUP, amount, '', note)
return {1, balance + amount, held}
