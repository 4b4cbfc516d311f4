-- topup(tenant, amount, note, reference, who, why): book an amount in micro-credits, once for each reference; the first one opens the
-- account. With `who` it is an act of an operator: a line of the log. Answers {1, balance, held}, also where it was booked before; {0, balance, held} where a negative amount would take
-- what is held.
-- uses: clock money operation
local tenant, amount, note, reference, who, why = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3)
local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held')
local balance, held = tonumber(account[1] or 0), tonumber(account[2] or 0)
if redis.call('SISMEMBER', Key.topups(tenant), reference) == 1 then return {1, balance, held} end
if amount < 0 and balance + amount < held then return {0, balance, held} end
redis.call('SADD', Key.topups(tenant), reference)
redis.call('HSET', Key.credit(tenant), 'balance', balance + amount, 'held', held)
money_note(tenant, Statement.TOPUP, amount, '', note)
if who ~= '' then
  local function credits(micro) return string.format('%.15g credits', micro / 1000000) end
  operation_note(who, why, Statement.TOPUP, 'tenant ' .. tenant, account[1] and credits(balance) or 'no account', credits(balance + amount))
end
return {1, balance + amount, held}
