-- A job as farm.ledger.records decodes it: {id, fields and values of the record, body, result, lease_until_ms,
-- jobs of its tenant that are queued before it, NOW}.
-- uses: clock tier
local function job_position(pool, tier, tenant, id)
  local before = redis.call('ZRANK', Key.queue(tier_line(pool, tier), tenant), id)
  if not before then return false end
  for _, higher in ipairs(TIERS) do
    if higher == (tier or Tier.NORMAL) then return before end
    before = before + redis.call('ZCARD', Key.queue(tier_line(pool, higher), tenant))
  end
end

local function job_read(id)
  local record = redis.call('HGETALL', Key.job(id))
  if #record == 0 then return false end
  local state, pool, tenant, bought, tier
  for i = 1, #record, 2 do
    if record[i] == 'state' then state = record[i + 1] end
    if record[i] == 'pool' then pool = record[i + 1] end
    if record[i] == 'tenant' then tenant = record[i + 1] end
    if record[i] == 'tier' then tier = record[i + 1] end
    if record[i] == 'purchase' then bought = true end
  end
  local result, lease, position = false, false, false
  if state == State.SUCCEEDED then result = redis.call('GET', Key.result(id)) end
  if state == State.RUNNING then lease = redis.call('ZSCORE', Key.leases(bought and Setting.BURST_POOL or pool), id) end
  if state == State.WAITING then lease = redis.call('ZSCORE', Key.leases(Setting.INTAKE_POOL), id) end
  if state == State.QUEUED then position = job_position(pool, tier, tenant, id) end
  return {id, record, redis.call('GET', Key.body(id)), result, lease, position, NOW}
end

-- The same of a job that the caller is leasing, without reading it again. `changes`: names and values of the record that are newer
-- than what was loaded. Where a name comes twice, its last value counts.
local function job_leased(job, state, changes, until_ms)
  local record = job.record
  for n = 1, #changes do record[#record + 1] = changes[n] end
  record[#record + 1] = 'state'
  record[#record + 1] = state
  return {job.id, record, redis.call('GET', Key.body(job.id)), false, until_ms, false, NOW}
end
