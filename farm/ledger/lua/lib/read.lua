-- A job as farm.ledger.records decodes it: {id, fields and values of the record, body, result, lease_until_ms,
-- position in its tenant's queue, NOW}.
-- uses: clock
local function job_read(id)
  local record = redis.call('HGETALL', Key.job(id))
  if #record == 0 then return false end
  local state, pool, tenant, bought
  for i = 1, #record, 2 do
    if record[i] == 'state' then state = record[i + 1] end
    if record[i] == 'pool' then pool = record[i + 1] end
    if record[i] == 'tenant' then tenant = record[i + 1] end
    if record[i] == 'purchase' then bought = true end
  end
  local result, lease, position = false, false, false
  if state == State.SUCCEEDED then result = redis.call('GET', Key.result(id)) end
  if state == State.RUNNING then lease = redis.call('ZSCORE', Key.leases(bought and Setting.BURST_POOL or pool), id) end
  if state == State.WAITING then lease = redis.call('ZSCORE', Key.leases(Setting.INTAKE_POOL), id) end
  if state == State.QUEUED then position = redis.call('ZRANK', Key.queue(pool, tenant), id) end
  return {id, record, redis.call('GET', Key.body(id)), result, lease, position, NOW}
end
