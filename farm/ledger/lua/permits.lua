-- permits(pool): reserve what is missing. Answers {permit, pool, ...}.
-- uses: clock permit
return permit_reserve(ARGV[1], {})
