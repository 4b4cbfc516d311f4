-- permits(pool, 1 where a free worker heard none, else 0): reserve the permits that the pool lacks (lib/permit.lua). Answers
-- {permit, pool, ...}.
-- uses: full clock permit
return permit_reserve(ARGV[1], {}, ARGV[2] == '1')
