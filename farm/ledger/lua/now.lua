-- now(): ms since the epoch on the ledger's clock.
-- uses: clock
return NOW
