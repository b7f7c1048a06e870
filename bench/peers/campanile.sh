#!/usr/bin/env bash
# Campanile on one shard, with a channel `news` that any session may subscribe to. `./campanile.sh tokens COUNT` prints
# tokens for its subscribers, who are subscribed from the beginning; `./campanile.sh PORT` starts it, its API on the
# next port.
set -euo pipefail
program="$(cd "$(dirname "$0")/../.." && pwd)/target/release/campanile"
# In the folder for temporary files, and left there: the measured process is the gateway itself.
folder="$(mktemp -d)"
# For the benchmark only.
printf 'a-secret-that-only-benchmarks-have-0001' > "$folder/secret"
printf 'a-key-that-only-benchmarks-have-00000001' > "$folder/key"
if [ "$1" = tokens ]; then
    "$program" token --jwt-hs256-file "$folder/secret" --count "$2" --user u --device 1 --subscribe news
    exit
fi
cat > "$folder/campanile.toml" <<EOF
shards = 1
listen = "127.0.0.1:$1"
api_listen = "127.0.0.1:$(($1 + 1))"
admin_listen = "127.0.0.1:0"
devices_listen = "127.0.0.1:0"
data_dir = "$folder/data"
[auth]
jwt_hs256_file = "$folder/secret"
[api]
key_file = "$folder/key"
EOF
exec "$program" serve --config "$folder/campanile.toml"
