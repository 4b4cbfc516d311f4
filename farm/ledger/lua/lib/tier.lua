-- A pool has a line for each tier, the first served first: tenants with queued jobs of it, and the queue of each. The
-- line of the normal tier has the pool's own name.
local TIERS = {Tier.URGENT, Tier.NORMAL, Tier.ECONOMY}

local function tier_line(pool, tier)
  if not tier or tier == Tier.NORMAL then return pool end
  return pool .. '!' .. tier
end

local function tier_of_line(line)
  local pool, tier = string.match(line, '^([^!]+)!?(.*)$')
  return pool, tier ~= '' and tier or Tier.NORMAL
end
