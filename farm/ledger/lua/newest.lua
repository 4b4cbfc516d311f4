-- newest(tenant, label or '', before id or '', limit, state, ...): per state the newest ids before that one, as of one
-- moment. A script, because Redis refuses even reads in a transaction when it is full.
local tenant, label, before, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local from = before ~= '' and '(' .. before or '+'
local found = {}
for n = 5, #ARGV do
  local key = label ~= '' and Key.label(tenant, ARGV[n], label) or Key.jobs(tenant, ARGV[n])
  found[n - 4] = redis.call('ZREVRANGEBYLEX', key, from, '-', 'LIMIT', 0, limit)
end
return found
