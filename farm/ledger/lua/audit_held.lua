-- audit_held(purchases_moved, n, then n times: 'spend' or 'account', the two parts of its key, what open purchases hold there):
-- correct `held` where it is something else. Answers how many were wrong; -1 where a purchase was begun or closed since
-- purchases_moved was read: then nothing was done.
-- uses: full clock
if (redis.call('GET', Key.purchases_moved()) or '0') ~= ARGV[1] then return -1 end
local wrong = 0
for n = 3, #ARGV, 4 do
  local kind, first, second, held = unpack(ARGV, n, n + 3)
  local key = kind == 'spend' and Key.spend(first, second) or Key.account(first, second)
  if tonumber(redis.call('HGET', key, 'held') or 0) ~= tonumber(held) then
    redis.call('HSET', key, 'held', held)
    wrong = wrong + 1
  end
end
return wrong
