#!/usr/bin/env bash
# The five tenants of studio.toml. Run it once, beside the ledger (WANFARM_CONFIG names the settings); each line prints a key.
set -euo pipefail
# a film with a deadline: half of the farm when everybody works
wanfarm tenants create feature --name "Feature film" --weight 4
wanfarm tenants create series --name "Series" --weight 2
# signed, and never more than the client's budget of GPUs
wanfarm tenants create commercials --name "Commercials" --max-running 6
# artists try things out: many small jobs, no flood
wanfarm tenants create lab --name "Lab" --weight 0.5 --max-open 200 --rate-per-minute 30
# from outside, through the agency's own page
wanfarm tenants create agency --name "Agency" --weight 0.5 --max-open 50 --rate-per-minute 6 --max-running 2
