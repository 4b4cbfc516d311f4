-- A call that its caller gave up does not run later. Its last argument is its deadline, ms by this server's clock.
-- farm.ledger.scripts.Scripted.run_in_time reads the answer.
-- uses: clock
if NOW > tonumber(ARGV[#ARGV]) then return {'late', NOW} end
