-- What every script of the deliveries stands on. PREFIX, PER_RECEIVER and PER_TENANT are filled in by Python.
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local TENANTS = PREFIX .. ':hooks:tenants'
local STANDING = PREFIX .. ':hooks:standing'
local function hook_key(id) return PREFIX .. ':hook:' .. id end
local function due_key(receiver) return PREFIX .. ':hooks:due:' .. receiver end
local function flying_key(receiver) return PREFIX .. ':hooks:flying:' .. receiver end
local function receivers_key(tenant) return PREFIX .. ':hooks:receivers:' .. tenant end
local function tenant_flying_key(tenant) return PREFIX .. ':hooks:tenant-flying:' .. tenant end
local function tenant_of(receiver) return string.match(receiver, '^[^|]*') end
local function dead_key(tenant) return PREFIX .. ':hooks:dead:' .. tenant end

local function failures(receiver)
  return tonumber(redis.call('HGET', STANDING, receiver) or 0)
end

-- Posts that may be under way to the receiver now: one while it fails.
local function allowance(receiver)
  local most = PER_RECEIVER
  if failures(receiver) > 0 then most = 1 end
  return most - redis.call('ZCARD', flying_key(receiver))
end

-- When the tenant has to be looked at next: when the first of its receivers has.
local function refresh_tenant(tenant)
  local first = redis.call('ZRANGE', receivers_key(tenant), 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', TENANTS, first[2], tenant) else redis.call('ZREM', TENANTS, tenant) end
end

-- When the receiver has to be looked at next: its first due delivery, or the first lease that may run out.
local function refresh(receiver)
  local due = redis.call('ZRANGE', due_key(receiver), 0, 0, 'WITHSCORES')
  local flying = redis.call('ZRANGE', flying_key(receiver), 0, 0, 'WITHSCORES')
  local at = nil
  if due[2] and allowance(receiver) > 0 then at = tonumber(due[2]) end
  if flying[2] and (not at or tonumber(flying[2]) < at) then at = tonumber(flying[2]) end
  if at then
    redis.call('ZADD', receivers_key(tenant_of(receiver)), at, receiver)
  else
    redis.call('ZREM', receivers_key(tenant_of(receiver)), receiver)
    redis.call('HDEL', STANDING, receiver)
  end
  refresh_tenant(tenant_of(receiver))
end

-- In a full Redis, too, these scripts go on (as farm/ledger/lua/lib/full.lua): they finish what is there.
redis.call('DEL', PREFIX .. ':nothing')
