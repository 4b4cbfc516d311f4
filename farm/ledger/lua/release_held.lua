-- release_held(HoldReason, id, ...): remove this reason not to start; a job that has no other is queued again. Answers
-- {{HoldOutcome, ...}, {permit, pool, ...}}.
-- uses: full clock job event queue held permit
local pools, answers, permits = {}, {}, {}
for n = 2, #ARGV do answers[n - 1] = held_remove(job_load(ARGV[n]), ARGV[1], pools) end
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {answers, permits}
