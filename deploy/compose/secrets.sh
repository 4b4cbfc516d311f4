#!/usr/bin/env bash
# Makes .env and secrets/ for compose.yaml, once; what is there is kept. Needs nothing but a shell.
#
# The files are readable for everybody *inside* a folder that only their owner may enter: containers read them by
# single-file mounts, as users of their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p -m 0700 secrets
word() { LC_ALL=C tr -dc 'a-zA-Z0-9' </dev/urandom | head -c "$1" || true; }
keep() { [[ -s secrets/$1 ]] || printf '%s' "$2" >"secrets/$1"; chmod 0444 "secrets/$1"; }
keep redis_password "$(word 40)"
keep ledger_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
keep broker_url "redis://:$(cat secrets/redis_password)@redis:6379/1"
keep s3_access_key "$(word 20)"
keep s3_secret_key "$(word 40)"
# a Fernet key: 32 bytes, URL-safe base64
keep farm_key "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
keep grafana_password "$(word 24)"
keep seaweedfs.json "$(printf '{"identities":[{"name":"wanfarm","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","Write","List","Tagging"]}]}' \
    "$(cat secrets/s3_access_key)" "$(cat secrets/s3_secret_key)")"
[[ -e .env ]] || cp .env.example .env
echo "secrets/ and .env are there; Grafana's password (user admin) is in secrets/grafana_password"
