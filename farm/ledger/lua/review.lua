-- review(tenant): its caps were set. It comes back now to lines that nothing keeps it from any more: of those that stand aside, a reap
-- looks at a few. Permits come with the next reap.
-- uses: full tier fair limit
limit_review(ARGV[1])
