-- uses: clock
-- Whether a stored time is no older than `term_ms`. A time in the future means that the clock went back.
local function within(stored_ms, term_ms)
  return stored_ms ~= nil and stored_ms <= NOW and NOW < stored_ms + term_ms
end
