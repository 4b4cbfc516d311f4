-- audit_jobs(limit, id, ...): correct the indexes, queues, leases and holds of these jobs to what their records say, one
-- after the other until `limit` records, theirs and of their parents, were read: one at least. Answers {how many of these
-- jobs were looked at, name of the drift, count, ...}.
-- uses: full clock job event money fair limit queue due verdict depend states
local drift, names = {}, {}
local function note(name)
  if not drift[name] then
    drift[name] = 0
    names[#names + 1] = name
  end
  drift[name] = drift[name] + 1
end

-- The index with this key lists the job, or does not.
local function check_listed(key, id, wanted)
  local there = redis.call('ZSCORE', key, id)
  if wanted and not there then
    redis.call('ZADD', key, 0, id)
    note('index')
  elseif there and not wanted then
    redis.call('ZREM', key, id)
    note('index')
  end
end

local function drop_queued(job, pool)
  queue_remove(tier_line(pool, job.tier), job.tenant, job.id)
  note('queue')
end

local function drop_delayed(job, pool)
  redis.call('ZREM', Key.delayed(pool), job.id)
  note('delayed')
end

local function drop_lease(job, pool)
  redis.call('ZREM', Key.leases(pool), job.id)
  note('lease')
end

-- Each job is in the index of its own state and in no other.
local function check_index(job)
  for _, state in ipairs(STATES) do
    local keys = {Key.jobs(job.tenant, state)}
    if job.label then keys[#keys + 1] = Key.label(job.tenant, state, job.label) end
    if job.dialect then keys[#keys + 1] = Key.dialect(job.tenant, state, job.dialect) end
    if job.batch then keys[#keys + 1] = Key.batch_jobs(job.batch, state) end
    for _, key in ipairs(keys) do check_listed(key, job.id, state == job.state) end
  end
end

local REASONS = {HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY, HoldReason.PARKED}

-- An open job is listed under each reason that it is held for, and under no other.
local function check_reasons(job)
  local listed = {}
  if not TERMINAL[job.state] then
    for reason in string.gmatch(job.held_for or '', '%S+') do listed[reason] = true end
  end
  for _, reason in ipairs(REASONS) do
    local keys = {Key.holds(job.tenant, reason), job.batch and Key.batch_holds(job.batch, reason)}
    for _, key in ipairs(keys) do check_listed(key, job.id, listed[reason]) end
  end
end

-- In a pool a job stands in no line but its own.
local function check_lines(job, pool, own)
  for _, tier in ipairs(TIERS) do
    local line = tier_line(pool, tier)
    if line ~= own and redis.call('ZSCORE', Key.queue(line, job.tenant), job.id) then
      queue_remove(line, job.tenant, job.id)
      note('queue')
    end
  end
end

local function places(job, pool)
  check_lines(job, pool, tier_line(pool, job.tier))
  return redis.call('ZSCORE', Key.queue(tier_line(pool, job.tier), job.tenant), job.id), redis.call('ZSCORE', Key.delayed(pool), job.id),
    redis.call('ZSCORE', Key.leases(pool), job.id)
end

-- A job that does not wait in a pool is neither queued, delayed nor held there. Answers its lease, if it has one.
local function check_not_waiting(job, pool)
  local queued, delayed, leased = places(job, pool)
  if queued then drop_queued(job, pool) end
  if delayed then drop_delayed(job, pool) end
  if redis.call('ZREM', Key.held(pool), job.id) == 1 then note('on_hold') end
  return leased
end

-- A job is listed in no pool that it is not in now.
local function check_absent(job, pool)
  if check_not_waiting(job, pool) then drop_lease(job, pool) end
end

-- A job that waits, or is bought, is exactly one of these: held (when its record says so), queued, delayed, or, in intake or
-- bought, leased. Where it is several, the lease stays, for somebody may be at work; else the queue, where it is not forgotten.
local function check_waiting(job, pool)
  local queued, delayed, leased = places(job, pool)
  if leased and job.state == State.QUEUED then
    drop_lease(job, pool)
    leased = false
  end
  if queue_stopped(job) and not leased then
    if not redis.call('ZSCORE', Key.held(pool), job.id) then
      queue_hold(job)
      note('on_hold')
    end
    if queued then drop_queued(job, pool) end
    if delayed then drop_delayed(job, pool) end
    return
  end
  local held = redis.call('ZREM', Key.held(pool), job.id) == 1
  if held then note('on_hold') end
  if queued and leased then drop_queued(job, pool) end
  if delayed and (queued or leased) then drop_delayed(job, pool) end
  if not queued and not delayed and not leased then
    if held then
      queue_again(job)
    else
      queue_put(job)
      note('queue')
    end
  end
  local line = tier_line(pool, job.tier)
  if queued and not leased and not redis.call('ZSCORE', Key.fair(line), job.tenant)
    and redis.call('SISMEMBER', Key.aside(job.tenant), line) == 0 then
    limit_enter(line, job.tenant)
    note('fair')
  end
end

local function check_running(job, pool)
  if not check_not_waiting(job, pool) then
    redis.call('ZADD', Key.leases(pool), NOW + Setting.LEASE_MS, job.id)
    note('lease')
  end
end

-- What counts towards the caps of its tenant is at work on a worker of our own.
local function check_busy(job)
  local own = job.state == State.RUNNING and not job.purchase
  local key = Key.busy(job.pool, job.tenant)
  local there = redis.call('ZSCORE', key, job.id)
  if own and not there then
    redis.call('ZADD', key, NOW, job.id)
    note('busy')
  elseif there and not own then
    limit_freed(job.pool, job.tenant, job.id)
    note('busy')
  end
end

-- A job that waits for others is listed with those of them that are open, and starts or fails when none is.
local function check_parents(job)
  if not job.parents or TERMINAL[job.state] or not string.find(job.held_for or '', HoldReason.DEPENDENCY, 1, true) then return job end
  if depend_undecided(job) then return job end
  local listed, missing = false, {}
  for parent in string.gmatch(job.parents, '%S+') do
    local current = depend_current(parent)
    local state = redis.call('HGET', Key.job(current), 'state')
    if state and not TERMINAL[state] then
      if redis.call('SISMEMBER', Key.children(current), job.id) == 1 then listed = true else missing[#missing + 1] = current end
    end
  end
  -- an orphan that runs waits for all of them, and a parent that was made anew lists it once another one ends (depend_look)
  if missing[1] and not (listed and job.orphans == 'run') then
    for _, parent in ipairs(missing) do redis.call('SADD', Key.children(parent), job.id) end
    note('children')
  end
  depend_look(job.id)
  if redis.call('HGET', Key.job(job.id), 'held_for') == job.held_for then return job end
  note('children')
  return job_load(job.id)
end

-- Somebody looks when its time has come.
local function check_due(job)
  local overdue = job.state ~= State.RUNNING and due_over(job)
  if (overdue or due_next(job, NOW)) and not redis.call('ZSCORE', Key.due(), job.id) then
    due_note(job, overdue and 0 or NOW)
    note('due')
  end
end

-- A hold stays open as long as its job.
local function check_ended(job)
  if job.hold_open then
    if job.state == State.SUCCEEDED then money_settle(job) else money_release(job) end
    note('hold')
  end
  if not redis.call('ZSCORE', Key.ended(), job.id) then
    redis.call('ZADD', Key.ended(), redis.call('HGET', Key.job(job.id), 'finished_ms') or NOW, job.id)
    note('ended')
  end
end

local limit, looked = tonumber(ARGV[1]), 0
for n = 2, #ARGV do
  if looked > 0 and looked + depend_read >= limit then break end
  looked = looked + 1
  local job = job_load(ARGV[n])
  if job then
    local pool = job_pool(job)
    check_index(job)
    check_reasons(job)
    job = check_parents(job)
    check_busy(job)
    if not TERMINAL[job.state] then check_due(job) end
    if TERMINAL[job.state] then
      check_absent(job, pool)
      check_ended(job)
    elseif job.state == State.RUNNING and not job.purchase then
      check_running(job, pool)
    else
      check_waiting(job, pool)
    end
    if pool ~= Setting.INTAKE_POOL then check_absent(job, Setting.INTAKE_POOL) end
    if job.purchase then check_absent(job, pool == job.pool and Setting.BURST_POOL or job.pool) end
  end
end

local answer = {looked}
for _, name in ipairs(names) do
  answer[#answer + 1] = name
  answer[#answer + 1] = drift[name]
end
return answer
