-- A new job, from its twenty fields as farm.ledger.records.admission gives them: id, tenant, state, pool, lane, priority,
-- deadline_ms, predicted_s, max_attempts, hold, hook, label, idempotency key, body sha256, needs, held_for, dialect, tier,
-- start_by_ms, body JSON; '' for what it does not have. An economy job's deadline is the end of its window.
-- uses: clock tier
local CREATE_FIELDS = {[4] = 'pool', [5] = 'lane', [6] = 'priority', [7] = 'deadline_ms', [8] = 'predicted_s', [9] = 'max_attempts',
  [10] = 'hold', [11] = 'hook', [12] = 'label', [15] = 'needs', [17] = 'dialect', [19] = 'start_by_ms'}

-- The job as the other scripts load it, and names and values of its record. It is not stored yet.
local function create_record(given)
  local job = {
    id = given[1], tenant = given[2], state = given[3], pool = given[4], lane = given[5], attempt = 0,
    priority = tonumber(given[6]), deadline_ms = tonumber(given[7]), predicted_s = tonumber(given[8]),
    hold = tonumber(given[10]), label = given[12] ~= '' and given[12] or nil,
    dialect = given[17] ~= '' and given[17] or nil, tier = given[18], start_by_ms = tonumber(given[19]),
  }
  local record = {'tenant', job.tenant, 'state', job.state, 'created_ms', NOW}
  local function also(name, value)
    record[#record + 1] = name
    record[#record + 1] = value
  end
  for at, name in pairs(CREATE_FIELDS) do
    if given[at] ~= '' then also(name, given[at]) end
  end
  if job.tier ~= Tier.NORMAL then also('tier', job.tier) end
  if job.tier == Tier.ECONOMY then
    local lead_ms = math.min(Setting.ECONOMY_RISE_MS, math.max(0, job.deadline_ms - NOW) / 4)
    job.expires_ms = job.deadline_ms
    job.rises_ms = math.floor(job.deadline_ms - lead_ms - 1000 * job.predicted_s)
    also('expires_ms', job.expires_ms)
    also('rises_ms', job.rises_ms)
  end
  if job.state == State.QUEUED then also('queued_ms', NOW) end
  return job, record
end

-- Store the record and the body. The job is in no index and in no queue yet.
local function create_store(id, record, body)
  redis.call('HSET', Key.job(id), unpack(record))
  redis.call('SET', Key.body(id), body)
end
