-- admit(count, job 1, job 2, ..., deadline ms): admit all of these jobs, or none. A job is the twenty fields of lib/create.lua.
-- Answers {'ok', {{id, 1, or 0 where its idempotency key was known; of a new one that is queued, its place in its tenant's queue},
-- ...}, {permit, pool, ...}, now}, or why none was admitted: {'conflict' | 'taken' | 'unpriced', number of the job},
-- {'no_room', bytes stored, most}, {'too_many', tenant, limit}, {'payment', tenant, needed, available}.
-- uses: late clock job create event batch money queue due permit read stored
local WIDTH = 20
local count = tonumber(ARGV[1])
local answers, fresh, seen = {}, {}, {}
local opening, needed, tenants = {}, {}, {}

for n = 1, count do
  local at = 2 + (n - 1) * WIDTH
  local id, tenant, hold, key, sha = ARGV[at], ARGV[at + 1], ARGV[at + 9], ARGV[at + 12], ARGV[at + 13]
  local owner = redis.call('HGET', Key.job(id), 'tenant')
  local known = false
  if key ~= '' then
    local idem = Key.idem(tenant, key)
    known = seen[idem] or redis.call('GET', idem)
    if known and not seen[idem] and redis.call('EXISTS', Key.job((string.match(known, '^%S+')))) == 0 then
      -- the job that came with it was removed meanwhile
      known = false
    end
    if not known then seen[idem] = id .. ' ' .. sha end
  end
  if owner then
    -- the same call again after a lost reply
    if owner ~= tenant then return {'taken', n} end
    answers[n] = {id, 1}
  elseif known then
    local first, first_sha = string.match(known, '^(%S+) ?(.*)$')
    if first_sha ~= sha then return {'conflict', n} end
    answers[n] = {first, 0}
  else
    answers[n] = {id, 1}
    fresh[#fresh + 1] = at
    if not opening[tenant] then
      opening[tenant], needed[tenant] = 0, 0
      tenants[#tenants + 1] = tenant
    end
    opening[tenant] = opening[tenant] + 1
    if hold ~= '' then
      needed[tenant] = needed[tenant] + tonumber(hold)
    elseif money_has_account(tenant) then
      return {'unpriced', n}
    end
  end
end

for _, tenant in ipairs(tenants) do
  -- a result cannot be refused once it is rendered
  local stored = stored_bytes(tenant)
  if stored > Setting.MAX_STORED then return {'no_room', stored, Setting.MAX_STORED} end
  local limit = tonumber(redis.call('HGET', Key.tenant(tenant), 'max_open') or '') or Setting.MAX_OPEN
  local open = redis.call('ZCARD', Key.jobs(tenant, State.WAITING))
    + redis.call('ZCARD', Key.jobs(tenant, State.QUEUED)) + redis.call('ZCARD', Key.jobs(tenant, State.RUNNING))
  if open + batch_coming(tenant) + opening[tenant] > limit then return {'too_many', tenant, limit} end
  local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held')
  if account[1] then
    local available = tonumber(account[1]) - tonumber(account[2] or 0)
    if needed[tenant] > available then return {'payment', tenant, needed[tenant], available} end
  end
end

local pools = {}
for _, at in ipairs(fresh) do
  local job, record = create_record({unpack(ARGV, at, at + WIDTH - 1)})
  create_store(job.id, record, ARGV[at + WIDTH - 1])
  redis.call('SADD', Key.owners(), job.tenant)
  if ARGV[at + 12] ~= '' then
    redis.call('SET', Key.idem(job.tenant, ARGV[at + 12]), job.id .. ' ' .. ARGV[at + 13], 'EX', Setting.IDEMPOTENCY_S)
  end
  job_index(job, 'ZADD', 0, job.id)
  money_hold(job)
  for reason in string.gmatch(ARGV[at + 15], '%S+') do queue_reasons(job, reason, true) end
  queue_put(job)
  -- a new job is not in Key.due: there is nothing to remove
  if due_next(job, 0) then due_note(job, 0) end
  event(job)
  pools[job_pool(job)] = true
  answers[(at - 2) / WIDTH + 1][3] = job.state == State.QUEUED and
    job_position(job.pool, job.tier, job.tenant, job.id)
end

local permits = {}
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {'ok', answers, permits, NOW}
