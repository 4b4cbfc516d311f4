-- Included in every script of the deliveries. Python fills in PER_RECEIVER and PER_TENANT, and Key.* from
-- farm/ledger/keys.py.
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local TENANTS = Key.hook_tenants()
local FAILURES = Key.hook_failures()
local function tenant_of(receiver) return string.match(receiver, '^[^|]*') end

local function failures(receiver)
  return tonumber(redis.call('HGET', FAILURES, receiver) or 0)
end

-- Posts that may be under way to the receiver now: one while it fails.
local function allowance(receiver)
  local most = PER_RECEIVER
  if failures(receiver) > 0 then most = 1 end
  return most - redis.call('ZCARD', Key.hook_leased(receiver))
end

-- When the tenant has to be looked at next: when the first of its receivers has.
local function refresh_tenant(tenant)
  local first = redis.call('ZRANGE', Key.hook_receivers(tenant), 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', TENANTS, first[2], tenant) else redis.call('ZREM', TENANTS, tenant) end
end

-- When the receiver has to be looked at next: its first due delivery, or the first lease that may run out.
local function refresh(receiver)
  local due = redis.call('ZRANGE', Key.hook_due(receiver), 0, 0, 'WITHSCORES')
  local leased = redis.call('ZRANGE', Key.hook_leased(receiver), 0, 0, 'WITHSCORES')
  local at = nil
  if due[2] and allowance(receiver) > 0 then at = tonumber(due[2]) end
  if leased[2] and (not at or tonumber(leased[2]) < at) then at = tonumber(leased[2]) end
  if at then
    redis.call('ZADD', Key.hook_receivers(tenant_of(receiver)), at, receiver)
  else
    redis.call('ZREM', Key.hook_receivers(tenant_of(receiver)), receiver)
    redis.call('HDEL', FAILURES, receiver)
  end
  refresh_tenant(tenant_of(receiver))
end

-- In a full Redis, too, these scripts go on (as farm/ledger/lua/lib/full.lua): they finish what is there.
redis.call('DEL', Key.nothing())
