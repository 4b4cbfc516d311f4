-- balance_seen(provider, key, balance): note what an account at a provider has left. Amounts are millionths of a US dollar. What
-- went since the first look, or since the last top-up, is at least what purchases settled, and at most that and what open
-- purchases hold. Answers what went beyond that: money that no purchase explains, or 0.
-- uses: full clock
local key, balance = Key.account(ARGV[1], ARGV[2]), tonumber(ARGV[3])
local function number(name) return tonumber(redis.call('HGET', key, name) or 0) end

local held, spent = number('held'), number('spent')
local function begin(carried)
  redis.call('HSET', key, 'first_balance', balance, 'first_spent', spent, 'first_held', held, 'carried', carried)
end

if redis.call('HEXISTS', key, 'first_balance') == 0 then begin(0) end
local gone, settled = number('first_balance') - balance, spent - number('first_spent')
local before = number('unexplained')
local unexplained = number('carried') + math.max(0, gone - settled - held)
-- less went than was settled: the account was topped up, and counting begins anew (the same money settled twice would look
-- like that too, but a purchase is closed once)
if gone < settled - number('first_held') then
  begin(before)
  unexplained = before
end
redis.call('HSET', key, 'balance', balance, 'balance_ms', NOW, 'unexplained', unexplained)
return unexplained
