-- The index that a list is read from: all jobs of a tenant in a state, or those of a label, of a batch, or of a dialect.
local function listing_key(tenant, state, kind, name)
  if kind == 'label' then return Key.label(tenant, state, name) end
  if kind == 'dialect' then return Key.dialect(tenant, state, name) end
  if kind == 'batch' then return Key.batch_jobs(name, state) end
  return Key.jobs(tenant, state)
end
