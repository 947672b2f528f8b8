#!/bin/sh
# Makes what docker/compose.yml keeps secret: docker/secrets/, one file each. Again changes nothing that is there.
#     sh docker/secrets.sh [FOLDER]
# The folder is closed to others. The files in it are not: a container's user, who is not you, reads them through a mount of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-$here/secrets}
umask 077
mkdir -p "$into"
cd "$into"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# keep NAME VALUE: a file that is not there yet.
keep() {
    [ -s "$1" ] && return
    printf '%s' "$2" > "$1.new"
    chmod 644 "$1.new"
    mv "$1.new" "$1"
}

for name in owner worker trainer reader broker_worker broker_trainer broker_publisher flower grafana; do
    keep "${name}_password" "$(random)"
done
keep text_keys "$(head -c 32 /dev/urandom | base64)"
for name in owner worker trainer reader; do
    keep "${name}_database_url" "postgresql://$name:$(cat "${name}_password")@postgres:5432/feltsense"
done
keep trainer_study_url "postgresql+psycopg://trainer:$(cat trainer_password)@postgres:5432/studies"
keep worker_broker_url "redis://worker:$(cat broker_worker_password)@valkey:6379/0"
keep trainer_broker_url "redis://trainer:$(cat broker_trainer_password)@valkey:6379/1"
keep publisher_broker_url "redis://publisher:$(cat broker_publisher_password)@valkey:6379/0"
keep users.acl "$(sed -n "/^user /{
    s/change-worker/$(cat broker_worker_password)/
    s/change-trainer/$(cat broker_trainer_password)/
    s/change-publisher/$(cat broker_publisher_password)/
    p
}" "$here/../docs/valkey.acl")
"
keep flower.env "FLOWER_BASIC_AUTH=feltsense:$(cat flower_password)
"
echo "secrets are in $into"
