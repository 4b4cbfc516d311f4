-- How an attempt ends, and how a job ends.
-- uses: clock job event notify batch money fair fits queue due limit
local RETRYABLE = Table.RETRYABLE
local KILLS_WORKER = Table.KILLS_WORKER

-- End the job in this state: it leaves every queue, its hold is closed, and there is one event, and one outbox entry where its
-- owner wants a callback.
local function job_end(job, state, code, message)
  queue_leave(job)
  queue_forget_reasons(job)
  job_move(job, state)
  if state == State.SUCCEEDED then money_settle(job) else money_release(job) end
  local key = Key.job(job.id)
  redis.call('HDEL', key, 'phase', 'phase_ms', 'cancelling', 'not_before_ms', 'passes', 'charged_s', 'vlifted', 'graced')
  redis.call('HSET', key, 'finished_ms', NOW)
  if code then redis.call('HSET', key, 'error_code', code, 'error_message', message) end
  redis.call('ZADD', Key.ended(), NOW, job.id)
  redis.call('ZREM', Key.due(), job.id)
  if redis.call('EXISTS', Key.children(job.id)) == 1 then redis.call('RPUSH', Key.parents_over(), job.id) end
  if job.batch then batch_job_ended(job) end
  event(job, {error_code = code, error_message = message})
  if job.hook then
    redis.call('XADD', Key.outbox(), '*', 'job', job.id, 'tenant', job.tenant, 'state', state)
  end
end

local function job_expired(job, why)
  job_end(job, State.CANCELLED, Fault.EXPIRED, why)
end

local function job_cancelled(job)
  if job.cancelling == Fault.EXPIRED then return job_expired(job, 'it was not finished within its completion window') end
  job_end(job, State.CANCELLED, Fault.CANCELLED, 'cancelled by its owner')
end

-- Its owner cancels it: it ends at once, or, while it runs, when its worker hears of it. Answers a CancelOutcome.
local function job_cancel(job)
  if TERMINAL[job.state] then return Cancel.OVER end
  if job.state ~= State.RUNNING then
    job_cancelled(job)
    return Cancel.CANCELLED
  end
  if not job.cancelling then
    job.cancelling = '1'
    redis.call('HSET', Key.job(job.id), 'cancelling', 1)
    event(job, {cancelling = true})
    notify_worker(job)
  end
  return Cancel.CANCELLING
end

-- End the lease of the attempt, and correct what its tenant was charged.
local function attempt_end(job, gpu_s)
  redis.call('ZREM', Key.leases(job_pool(job)), job.id)
  redis.call('HDEL', Key.job(job.id), 'phase', 'phase_ms', 'progress', 'step', 'steps', 'graced', 'unheard', 'cold')
  fair_correct(job, gpu_s)
  limit_freed(job.pool, job.tenant, job.id)
end

-- The phase of a bought job that nobody follows now: the one it was in. Only of a submission that was under way it is unknown
-- whether it arrived.
local function purchase_phase(job)
  if job.phase == Phase.SUBMITTING and not job.purchase_id then job.phase = Phase.SUBMIT_UNKNOWN end
  redis.call('HSET', Key.job(job.id), 'phase', job.phase, 'phase_ms', NOW)
end

-- No process follows the bought job now: another one resumes it, and the attempt does not count. So also while it is being
-- cancelled: the provider is asked once more before the job ends.
local function attempt_resumable(job, delay_ms)
  redis.call('ZREM', Key.leases(job_pool(job)), job.id)
  redis.call('HDEL', Key.job(job.id), 'graced', 'unheard')
  purchase_phase(job)
  if delay_ms > 0 then queue_delay(job, NOW + delay_ms) else queue_put(job) end
  event(job, {phase = job.phase})
end

-- The delay before a retry, ms. It is spread over jobs, so that retries do not all come at once; it is the same for the same job
-- and attempt.
local function attempt_backoff_ms(job, used)
  local delay = math.min(Setting.BACKOFF_MS * 2 ^ math.min(used - 1, 30), Setting.BACKOFF_MAX_MS)
  local spread = tonumber(string.sub(job.id, -4), 16) or 0
  return math.floor(delay * (1 + 0.25 * ((spread + 7919 * used) % 65536) / 65536))
end

-- An attempt failed, and its lease has ended: the job is tried again, or ends. Answers a FailOutcome.
local function attempt_failed(job, code, message)
  if job.cancelling then
    job_cancelled(job)
    return Fail.CANCELLED
  end
  local used, losses = job.attempts_used + 1, job.worker_losses
  if KILLS_WORKER[code] then losses = losses + 1 end
  redis.call('HSET', Key.job(job.id), 'attempts_used', used, 'worker_losses', losses)
  if KILLS_WORKER[code] and losses >= Setting.POISON_LOSSES then
    job_end(job, State.FAILED, Fault.POISONOUS,
      'took its worker down ' .. losses .. ' times; the last time: ' .. message)
    return Fail.FAILED
  end
  local again = RETRYABLE[code]
  -- this worker's memory should have held it: it is tried again only where another worker may hold it
  if code == Fault.DOES_NOT_FIT and job.state == State.RUNNING then
    again = fits_another(job.needs, job.pool, job.worker)
  end
  if not again or used >= job.max_attempts then
    job_end(job, State.FAILED, code, message)
    return Fail.FAILED
  end
  -- a bought job stays bought and running: the next attempt fetches its result
  if job.state == State.RUNNING and not job.purchase then job_move(job, State.QUEUED) end
  local delay = attempt_backoff_ms(job, used)
  event(job, {retry_in_s = delay / 1000, error_code = code, error_message = message})
  if delay > 0 then queue_delay(job, NOW + delay) else queue_put(job) end
  redis.call('HSET', Key.job(job.id), 'queued_ms', NOW)
  if job.purchase then purchase_phase(job) end
  return Fail.RETRY
end

-- The attempt does not count: the job is queued again after delay_ms. Answers a FailOutcome.
local function attempt_returned(job, delay_ms)
  if job.purchase then
    attempt_resumable(job, delay_ms)
    return Fail.RETRY
  end
  if job.cancelling then
    job_cancelled(job)
    return Fail.CANCELLED
  end
  if job.state == State.RUNNING then job_move(job, State.QUEUED) end
  redis.call('HSET', Key.job(job.id), 'queued_ms', NOW)
  if delay_ms > 0 then queue_delay(job, NOW + delay_ms) else queue_put(job) end
  event(job)
  return Fail.RETRY
end

-- The answer to a fail or a release whose attempt does not hold the lease: ALREADY where the call is sent again after a lost reply,
-- else what became of the attempt.
local function attempt_over(job, fence)
  if job.ended_attempt == fence then return Fail.ALREADY end
  if job.fence == fence then
    if job.state == State.SUCCEEDED then return Fail.ALREADY end
    if job.state == State.CANCELLED then return Fail.CANCELLED end
  end
  return Fail.FENCED
end
