-- queued_first(pool, tenant, n): ids of the tenant's first queued jobs of the pool, in the order in which they are served.
-- uses: tier
local pool, tenant, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = {}
for _, tier in ipairs(TIERS) do
  if left <= 0 then break end
  for _, id in ipairs(redis.call('ZRANGE', Key.queue(tier_line(pool, tier), tenant), 0, left - 1)) do
    found[#found + 1], left = id, left - 1
  end
end
return found
