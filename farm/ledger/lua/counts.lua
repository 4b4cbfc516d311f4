-- counts(label or '', tenant, ...): how many jobs they have in each state, in the order of farm.jobs.states.State, tenant
-- by tenant. A script, because Redis refuses even reads in a transaction when it is full.
local label, counts = ARGV[1], {}
for n = 2, #ARGV do
  for _, state in ipairs({State.WAITING, State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}) do
    local key = label ~= '' and Key.label(ARGV[n], state, label) or Key.jobs(ARGV[n], state)
    counts[#counts + 1] = redis.call('ZCARD', key)
  end
end
return counts
