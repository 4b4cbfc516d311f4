-- A job's record and the indexes that follow its state. Only job_move changes a state.
-- uses: clock tier
local TRANSITIONS = Table.TRANSITIONS
local TERMINAL = Table.TERMINAL
local TEXTS = {'tenant', 'state', 'pool', 'lane', 'label', 'dialect', 'hook', 'cancelling', 'hold_open', 'worker', 'phase',
  'failed_on', 'needs', 'held_for', 'tier', 'batch', 'parents', 'orphans',
  'purchase', 'purchase_id', 'nonce', 'ended_attempt', 'intake_attempt'}
local NUMBERS = {'priority', 'deadline_ms', 'predicted_s', 'max_attempts', 'attempt', 'attempts_used', 'worker_losses',
  'hold', 'charged_s', 'vlifted', 'started_ms', 'queued_ms', 'unheard',
  'start_by_ms', 'rises_ms', 'expires_ms'}
local FIELDS = {}
for _, name in ipairs(TEXTS) do FIELDS[#FIELDS + 1] = name end
for _, name in ipairs(NUMBERS) do FIELDS[#FIELDS + 1] = name end

-- An attempt as its holder names it (farm.jobs.job.Fence.text): a Redis that lost its last second gives a number out
-- twice, and a nonce never.
local function fence_of(attempt, nonce)
  return string.format('%.0f:%s', attempt, nonce or '')
end

-- The record as a table, or nil. attempt, attempts_used and worker_losses are numbers, never nil.
local function job_load(id)
  local values = redis.call('HMGET', Key.job(id), unpack(FIELDS))
  if not values[2] then return nil end
  local job = {id = id}
  for i = 1, #TEXTS do
    if values[i] then job[TEXTS[i]] = values[i] end
  end
  for i = 1, #NUMBERS do
    local value = values[#TEXTS + i]
    if value then job[NUMBERS[i]] = tonumber(value) end
  end
  job.attempt = job.attempt or 0
  job.fence = fence_of(job.attempt, job.nonce)
  job.attempts_used = job.attempts_used or 0
  job.worker_losses = job.worker_losses or 0
  return job
end

local function job_index(job, command, ...)
  redis.call(command, Key.jobs(job.tenant, job.state), ...)
  if job.label then redis.call(command, Key.label(job.tenant, job.state, job.label), ...) end
  if job.dialect then redis.call(command, Key.dialect(job.tenant, job.state, job.dialect), ...) end
  if job.batch then redis.call(command, Key.batch_jobs(job.batch, job.state), ...) end
end

local function job_move(job, to)
  if job.state == to then return end
  if not TRANSITIONS[job.state .. '>' .. to] then
    error('no way from ' .. job.state .. ' to ' .. to .. ' for job ' .. job.id)
  end
  job_index(job, 'ZREM', job.id)
  job.state = to
  job_index(job, 'ZADD', 0, job.id)
  redis.call('HSET', Key.job(job.id), 'state', to)
end

-- The pool in whose queue, leases and delays the job is now: a bought job has left its own.
local function job_pool(job)
  if job.state == State.WAITING then return Setting.INTAKE_POOL end
  if job.purchase and job.state == State.RUNNING then return Setting.BURST_POOL end
  return job.pool
end

-- The line of that pool in which it is queued.
local function job_line(job)
  return tier_line(job_pool(job), job.tier)
end

-- Whether `fence` holds the job's lease: every write of a worker passes here.
local function job_held(job, fence)
  return job.fence == fence and redis.call('ZSCORE', Key.leases(job_pool(job)), job.id) ~= false
end
