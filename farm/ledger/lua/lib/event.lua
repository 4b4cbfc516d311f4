-- The tenant's event stream.
local function event(job, more)
  local data = {job = job.id, state = job.state, attempt = job.attempt}
  if job.label then data.label = job.label end
  if job.held_for then data.held_for = job.held_for end
  if more then
    for name, value in pairs(more) do data[name] = value end
  end
  redis.call('XADD', Key.events(job.tenant), 'MAXLEN', '~', Setting.EVENTS_KEPT, '*',
    'job', job.id, 'data', cjson.encode(data))
end
