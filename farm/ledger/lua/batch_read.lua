-- batch_read(tenant, id, ...): of each batch {id, names and values of its record, how many jobs are in each state (lib/states.lua),
-- how many open jobs have each reason (REASONS)}; false for one that is not there, not the tenant's, or not admitted.
-- uses: batch states
local REASONS = {HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY, HoldReason.PARKED}
local tenant, found = ARGV[1], {}
for n = 2, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGETALL', Key.batch(id))
  local state, owner
  for i = 1, #record, 2 do
    if record[i] == 'state' then state = record[i + 1] end
    if record[i] == 'tenant' then owner = record[i + 1] end
  end
  if not state or state == Batch.STAGING or owner ~= tenant then
    found[n - 1] = false
  else
    local counts, held = {}, {}
    for at, name in ipairs(STATES) do counts[at] = redis.call('ZCARD', Key.batch_jobs(id, name)) end
    for at, reason in ipairs(REASONS) do held[at] = redis.call('ZCARD', Key.batch_holds(id, reason)) end
    found[n - 1] = {id, record, counts, held}
  end
end
return found
