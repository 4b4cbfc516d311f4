-- What operators did: a line for each act, written with the act.
-- uses: clock
local function operation_note(who, why, act, target, before, after)
  redis.call('XADD', Key.operations(), '*', 'at_ms', NOW, 'who', who, 'why', why, 'act', act, 'target', target,
    'before', before, 'after', after)
end
