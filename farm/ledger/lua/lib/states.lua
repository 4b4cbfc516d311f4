-- Every state of a job, in the order of farm.jobs.states.State.
local STATES = {State.WAITING, State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}
