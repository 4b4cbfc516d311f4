-- claimable(pool, most): how many jobs could be claimed now, counted no further than `most`.
-- uses: clock permit
return permit_claimable(ARGV[1], tonumber(ARGV[2]))
