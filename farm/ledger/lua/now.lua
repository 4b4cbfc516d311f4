-- now(): ms since the epoch, by the ledger's clock.
-- uses: clock
return NOW
