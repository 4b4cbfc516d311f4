-- An operator may keep a part of a pool's slots for tenants below their share (pools.<name>.headroom): while n tenants have queued
-- jobs, part^n of the slots, so that hardly anything is kept where many tenants are there. No more than ACTIVE_MOST + 1 tenants
-- are counted.
-- uses: tier fair workforce
local ACTIVE_MOST = 16

local function headroom_used_up(pool, part, line, tenant)
  local active = redis.call('ZRANGE', Key.fair(line), 0, ACTIVE_MOST)
  local slots = workers_open(pool)
  local kept = math.floor(slots * part ^ math.max(1, #active))
  if kept == 0 or slots - redis.call('ZCARD', Key.leases(pool)) > kept then return false end
  local weights = 0
  for _, name in ipairs(active) do weights = weights + fair_weight(name) end
  local share = (slots - kept) * fair_weight(tenant) / math.max(weights, fair_weight(tenant))
  return redis.call('ZCARD', Key.busy(pool, tenant)) >= share
end

-- Whether the tenant, which has jobs in this line, may not take a slot now: what is free is kept for others, and it has its share
-- of the rest already.
local function headroom_keeps(pool, tier, line, tenant)
  if tier == Tier.URGENT or Setting.HEADROOMS == '' then return false end
  for name, part in string.gmatch(Setting.HEADROOMS, '(%S+)=(%S+)') do
    if name == pool then return headroom_used_up(pool, tonumber(part), line, tenant) end
  end
  return false
end
