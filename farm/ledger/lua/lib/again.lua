-- A job of a batch that failed is made anew. The old one stays as it ended; the new one takes its place in the batch.
-- uses: clock job create event batch money queue due depend stored
local AGAIN_KEPT = {'tenant', 'pool', 'lane', 'priority', 'predicted_s', 'max_attempts', 'hold', 'hook', 'label', 'needs', 'dialect',
  'batch', 'parents', 'orphans'}

-- Whether every input that the body names is stored.
local function again_stored(body)
  for _, input in pairs(cjson.decode(body).spec.inputs or {}) do
    if not input.key then return false end
  end
  return true
end

-- Whether the tenant may have one open job more.
local function again_room(tenant)
  local limit = tonumber(redis.call('HGET', Key.tenant(tenant), 'max_open') or '') or Setting.MAX_OPEN
  local open = redis.call('ZCARD', Key.jobs(tenant, State.WAITING)) + redis.call('ZCARD', Key.jobs(tenant, State.QUEUED))
    + redis.call('ZCARD', Key.jobs(tenant, State.RUNNING))
  return open + batch_coming(tenant) < limit
end

-- Whether one of the parents failed.
local function again_behind_failed(job)
  for parent in string.gmatch(job.parents or '', '%S+') do
    if redis.call('HGET', Key.job(depend_current(parent)), 'state') == State.FAILED then return true end
  end
  return false
end

-- What of its times still holds, as names and values of the record: the deadline, a start-by time that is to come, and the window
-- of an economy job while it is open. An operator's `urgent` was for the old one.
local function again_times(old)
  local times = {}
  local function also(name, value)
    times[#times + 1] = name
    times[#times + 1] = value
  end
  local function text(ms) return string.format('%.0f', ms) end
  if old.start_by_ms and NOW < old.start_by_ms then also('start_by_ms', text(old.start_by_ms)) end
  if old.expires_ms and NOW >= old.expires_ms then return times end
  if old.deadline_ms then also('deadline_ms', text(old.deadline_ms)) end
  if not old.expires_ms then return times end
  also('expires_ms', text(old.expires_ms))
  also('rises_ms', text(old.rises_ms))
  if NOW < old.rises_ms then also('tier', Tier.ECONOMY) end
  return times
end

-- For the act, make the job `old` anew as `id`. Answers nil, or why not: 'no_room', 'too_many', 'unpriced', 'payment'.
local function again(act_id, old, id, pools)
  if stored_bytes(old.tenant) > Setting.MAX_STORED then return 'no_room' end
  if not again_room(old.tenant) then return 'too_many' end
  if money_has_account(old.tenant) then
    -- its owner has an account only since then
    if not old.hold then return 'unpriced' end
    local account = redis.call('HMGET', Key.credit(old.tenant), 'balance', 'held')
    if old.hold > tonumber(account[1]) - tonumber(account[2] or 0) then return 'payment' end
  end
  local body = redis.call('GET', Key.body(old.id))
  local state = again_stored(body) and State.QUEUED or State.WAITING
  local values, record = redis.call('HMGET', Key.job(old.id), unpack(AGAIN_KEPT)), {'state', state, 'created_ms', NOW}
  if state == State.QUEUED then record = {'state', state, 'created_ms', NOW, 'queued_ms', NOW} end
  for n, name in ipairs(AGAIN_KEPT) do
    if values[n] then
      record[#record + 1] = name
      record[#record + 1] = values[n]
    end
  end
  for _, part in ipairs(again_times(old)) do record[#record + 1] = part end
  create_store(id, record, body)
  -- the record of the new one counts beside that of the old one
  depend_read = depend_read + 1
  -- the old one leaves the batch
  redis.call('ZREM', Key.batch_jobs(old.batch, old.state), old.id)
  redis.call('HDEL', Key.job(old.id), 'batch')
  redis.call('HSET', Key.job(old.id), 'retried_as', id)
  local key = Key.batch(old.batch)
  batch_add(old, 'gpu_ms_over', 0 - batch_gpu_ms(old.predicted_s))
  redis.call('HSET', key, 'state', Batch.OPEN)
  redis.call('HDEL', key, 'cancelling_ms')
  redis.call('ZADD', Key.batches_open(), 'NX', NOW, old.batch)
  local job = job_load(id)
  job_index(job, 'ZADD', 0, id)
  money_hold(job)
  if due_next(job, 0) then due_note(job, 0) end
  -- the act may make the failed parent anew, too: only when the act is over is it known whether the job can run
  local undecided = again_behind_failed(job)
  if undecided then
    redis.call('HSET', Key.job(id), 'remade_by', act_id)
    redis.call('SADD', Key.act_remade(act_id), id)
  end
  if job.parents then queue_reasons(job, HoldReason.DEPENDENCY, true) end
  queue_put(job)
  event(job)
  pools[job_pool(job)] = true
  if job.parents and not undecided then depend_look(id) end
end

-- The act makes no more jobs anew: look at those that it made while a parent of theirs had failed, until this call has read
-- `most` records (lib/depend.lua), at one of them at least. Answers whether some are left.
local function again_look(act_id, most)
  repeat
    local id = redis.call('SPOP', Key.act_remade(act_id))
    if not id then return false end
    redis.call('HDEL', Key.job(id), 'remade_by')
    depend_look(id)
  until depend_read >= most
  return redis.call('EXISTS', Key.act_remade(act_id)) == 1
end
