-- A call that was given up does not run later: its last argument is its deadline, ms on this server's
-- clock. farm.ledger.scripts.Scripted.run_in_time reads the answer.
-- uses: clock
if NOW > tonumber(ARGV[#ARGV]) then return {'late', NOW} end
