-- hold(HoldReason, id, ...): give these jobs a reason not to start. Answers a HoldOutcome for each.
-- uses: full clock job event queue held
local answers = {}
for n = 2, #ARGV do answers[n - 1] = held_add(job_load(ARGV[n]), ARGV[1]) end
return answers
