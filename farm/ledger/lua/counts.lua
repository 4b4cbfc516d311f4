-- counts('' or 'label' or 'dialect', its name, tenant, ...): how many jobs each tenant has in each state, tenant by
-- tenant, in the order of farm.jobs.states.State. A script, because Redis refuses even reads in a transaction when it is full.
-- uses: listing
local kind, name, counts = ARGV[1], ARGV[2], {}
for n = 3, #ARGV do
  for _, state in ipairs({State.WAITING, State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}) do
    counts[#counts + 1] = redis.call('ZCARD', listing_key(ARGV[n], state, kind, name))
  end
end
return counts
