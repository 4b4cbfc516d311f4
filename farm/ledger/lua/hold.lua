-- hold(HoldReason, id, ...): these jobs do not start while they have this reason. Answers a HoldOutcome for each.
-- uses: full clock job event queue held
local answers = {}
for n = 2, #ARGV do answers[n - 1] = held_add(job_load(ARGV[n]), ARGV[1]) end
return answers
