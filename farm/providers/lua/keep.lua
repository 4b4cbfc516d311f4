-- keep(provider, key, slot ms, holder, ...): these are open there still, also those that this Redis has forgotten.
local slots = Key.provider_slots(ARGV[1], ARGV[2])
for n = 4, #ARGV do redis.call('ZADD', slots, NOW + tonumber(ARGV[3]), ARGV[n]) end
return 1
