-- uses: clock
-- Whether a stored time is no older than `term_ms`. One that is still to come is no time of this clock: it went back.
local function within(stored_ms, term_ms)
  return stored_ms ~= nil and stored_ms <= NOW and NOW < stored_ms + term_ms
end
