-- reweigh(tenant): the tenant's weight was set. In each line where its virtual time is ahead of the clock, convert that lead to the
-- new weight now: otherwise its next charge, or its turn in fair_reweigh_next, would. Explanations and forecasts of other tenants'
-- jobs know the new weight from now on, too.
-- uses: full tier fair
local tenant = ARGV[1]
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    if redis.call('HEXISTS', Key.share(line), tenant .. '|weight') == 1 then fair_reweigh(line, tenant) end
  end
end
