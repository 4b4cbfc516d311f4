-- queued_first(pool, tenant, n, skip): ids of the tenant's queued jobs of the pool, in the order in which they are served: n of
-- them after the first `skip`.
-- uses: tier
local pool, tenant, left, skip = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}
for _, tier in ipairs(TIERS) do
  if left <= 0 then break end
  local key = Key.queue(tier_line(pool, tier), tenant)
  for _, id in ipairs(redis.call('ZRANGE', key, skip, skip + left - 1)) do
    found[#found + 1], left = id, left - 1
  end
  skip = math.max(0, skip - redis.call('ZCARD', key))
end
return found
