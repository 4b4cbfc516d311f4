-- The tenant's event stream. A job of a batch has its events in its batch's stream, and the tenant hears of the batch.
-- uses: clock batch
local function event(job, more)
  local data = {job = job.id, state = job.state, attempt = job.attempt}
  if job.label then data.label = job.label end
  if job.held_for then data.held_for = job.held_for end
  if more then
    for name, value in pairs(more) do data[name] = value end
  end
  local stream, kept = job.tenant, Setting.EVENTS_KEPT
  if job.batch then
    -- a heartbeat changes no count
    if not (more and more.step) then batch_changed(job.batch, job.tenant) end
    stream, kept, data.batch = batch_stream(job.tenant, job.batch), Setting.BATCH_EVENTS_KEPT, job.batch
  end
  redis.call('XADD', Key.events(stream), 'MAXLEN', '~', kept, '*', 'job', job.id, 'data', cjson.encode(data))
end
