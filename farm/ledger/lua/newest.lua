-- newest(tenant, '' or 'label' or 'dialect' or 'batch', its name, id that was read last or '', 'desc' or 'asc', limit, state, ...):
-- of each state the next `limit` ids, newest or oldest first, as of one moment. A script, because Redis refuses even reads in a
-- transaction when it is full.
-- uses: listing
local tenant, kind, name, last, order, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local found = {}
for n = 7, #ARGV do
  local key = listing_key(tenant, ARGV[n], kind, name)
  if order == 'asc' then
    found[n - 6] = redis.call('ZRANGEBYLEX', key, last ~= '' and '(' .. last or '-', '+', 'LIMIT', 0, limit)
  else
    found[n - 6] = redis.call('ZREVRANGEBYLEX', key, last ~= '' and '(' .. last or '+', '-', 'LIMIT', 0, limit)
  end
end
return found
