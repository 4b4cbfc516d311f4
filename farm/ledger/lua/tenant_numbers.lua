-- tenant_numbers(tenant, ...): jobs, credit and limits of each tenant, as JSON (farm.ledger.farm_numbers).
-- uses: full clock rate states
local REASONS = {HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY, HoldReason.PARKED}

local tenants = {}
for _, tenant in ipairs(ARGV) do
  local kept = redis.call('HMGET', Key.tenant(tenant), 'weight', 'max_open')
  local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held', 'spent')
  local numbers = {tenant = tenant, weight = tonumber(kept[1] or 1), open_limit = tonumber(kept[2] or '') or Setting.MAX_OPEN,
    jobs = {}, held_for = {}, balance = account[1] and tonumber(account[1]) or nil,
    hold = account[2] and tonumber(account[2]) or nil, spent = account[3] and tonumber(account[3]) or nil}
  for _, state in ipairs(STATES) do numbers.jobs[state] = redis.call('ZCARD', Key.jobs(tenant, state)) end
  for _, reason in ipairs(REASONS) do numbers.held_for[reason] = redis.call('ZCARD', Key.holds(tenant, reason)) end
  local rate = rate_of(tenant)
  if rate then numbers.rate_burst, numbers.rate_remaining = rate.burst, rate_remaining(rate) end
  tenants[#tenants + 1] = numbers
end
return cjson.encode(tenants)
