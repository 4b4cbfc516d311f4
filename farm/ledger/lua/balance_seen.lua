-- balance_seen(provider, key, balance): what an account has left, in millionths of a dollar. What went since the first look, or the
-- last top-up, is between what is settled and that with what is held. Answers what is beyond: more than nothing is money that no purchase explains.
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
-- a second settlement of the same money would look the same, but closes happen once
if gone < settled - number('first_held') then
  begin(before)
  unexplained = before
end
redis.call('HSET', key, 'balance', balance, 'balance_ms', NOW, 'unexplained', unexplained)
return unexplained
