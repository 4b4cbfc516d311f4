-- The tenant's event stream. Events of a job of a batch go to the batch's own stream, and the tenant's tells of the batch.
-- uses: clock batch
local function event_add(job, data)
  local stream, kept = job.tenant, Setting.EVENTS_KEPT
  if job.batch then
    stream, kept, data.batch = batch_stream(job.tenant, job.batch), Setting.BATCH_EVENTS_KEPT, job.batch
  end
  redis.call('XADD', Key.events(stream), 'MAXLEN', '~', kept, '*', 'job', job.id, 'data', cjson.encode(data))
end

local function event(job, more)
  local data = {job = job.id, state = job.state, attempt = job.attempt}
  if job.label then data.label = job.label end
  if job.held_for then data.held_for = job.held_for end
  if more then
    for name, value in pairs(more) do data[name] = value end
  end
  if job.batch then batch_changed(job.batch, job.tenant) end
  event_add(job, data)
end

-- The progress of a job, by far the most frequent event: as `event` would tell it, for less work. All arguments but `job` are
-- texts. It changes no count of a batch.
local function event_progress(job, attempt, phase, progress, step, steps)
  if job.label or job.held_for or job.batch or progress == '' then
    event_add(job, {job = job.id, state = job.state, attempt = tonumber(attempt), label = job.label or nil,
      held_for = job.held_for or nil, phase = phase, progress = tonumber(progress), step = tonumber(step),
      steps = tonumber(steps)})
    return
  end
  redis.call('XADD', Key.events(job.tenant), 'MAXLEN', '~', Setting.EVENTS_KEPT, '*', 'job', job.id, 'data',
    '{"job":"' .. job.id .. '","state":"' .. job.state .. '","attempt":' .. attempt .. ',"phase":"' .. phase
    .. '","progress":' .. progress .. ',"step":' .. step .. ',"steps":' .. steps .. '}')
end
