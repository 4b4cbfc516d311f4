-- A pool has a line for each tier: the tenants with queued jobs of that tier, and the queue of each tenant. TIERS is the order in
-- which they are served. The line of the normal tier has the pool's own name.
local TIERS = {Tier.URGENT, Tier.NORMAL, Tier.ECONOMY}

local function tier_line(pool, tier)
  if not tier or tier == Tier.NORMAL then return pool end
  return pool .. '!' .. tier
end

local function tier_of_line(line)
  local pool, tier = string.match(line, '^([^!]+)!?(.*)$')
  return pool, tier ~= '' and tier or Tier.NORMAL
end
