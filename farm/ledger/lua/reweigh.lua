-- reweigh(tenant): its weight was set. Where it stands ahead of a line's clock, its lead counts by the new weight now, not when
-- its next charge or its turn in fair_reweigh_next comes; and so do explanations and forecasts of others.
-- uses: full tier fair
local tenant = ARGV[1]
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    if redis.call('HEXISTS', Key.share(line), tenant .. '|weight') == 1 then fair_reweigh(line, tenant) end
  end
end
