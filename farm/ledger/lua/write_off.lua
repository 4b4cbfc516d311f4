-- write_off(provider, key, most or '', who, why): an operator books money that left a provider's account and that no purchase
-- explains (balance_seen.lua): all of it, or `most` millionths of a US dollar at most. The farm's overhead account has spent it
-- from now on. Answers how much that was.
-- uses: full clock purchase operation
local provider, name, most, who, why = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local key = Key.account(provider, name)
local function number(field) return tonumber(redis.call('HGET', key, field) or 0) end

local unexplained = number('unexplained')
local amount = math.min(unexplained, most or unexplained)
if amount <= 0 then return 0 end
-- what was carried over from before a top-up is not in the sums that balance_seen.lua compares
local carried = math.min(amount, number('carried'))
redis.call('HINCRBY', key, 'carried', 0 - carried)
redis.call('HINCRBY', key, 'first_spent', carried)
redis.call('HINCRBY', key, 'spent', amount)
redis.call('HSET', key, 'unexplained', unexplained - amount)
local today = purchase_periods(NOW)
for _, scope in ipairs({'provider ' .. provider, 'farm', 'overhead'}) do purchase_book(scope, today, 0, amount) end
operation_note(who, why, 'write_off', 'account ' .. provider .. '/' .. name, unexplained, unexplained - amount)
return amount
