-- permits(pool, heard none: 1 or 0): reserve what is missing. Answers {permit, pool, ...}.
-- uses: full clock permit
return permit_reserve(ARGV[1], {}, ARGV[2] == '1')
