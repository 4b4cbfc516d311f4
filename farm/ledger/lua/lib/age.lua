-- uses: clock
-- Whether a stored time is less than `term_ms` ago. One in the future is not: the clock went back since.
local function within(stored_ms, term_ms)
  return stored_ms ~= nil and stored_ms <= NOW and NOW < stored_ms + term_ms
end
