#!/usr/bin/env bash
# Give the users of definitions.json their passwords from files:
#
#   ./with-passwords.sh DIRECTORY < definitions.json > /etc/rabbitmq/definitions.json
#
# The password of user worker is the content of DIRECTORY/rabbitmq-worker, without its last
# line break. A user without a file keeps no password and cannot log in. The result has salted
# hashes only. It is the place to change a password: a broker that loads it at its start takes
# every user's password from it, each time.
set -euo pipefail

directory=$1

bytes() { # hexadecimal digits -> the bytes
    printf '%b' "$(sed 's/../\\x&/g' <<<"$1")"
}

hashed() { # password -> base64(salt, sha256(salt, password)), as RabbitMQ has it
    local salt digest
    salt=$(od -A n -N 4 -t x1 /dev/urandom | tr -d ' \n')
    digest=$({ bytes "$salt"; printf %s "$1"; } | sha256sum | cut -d ' ' -f 1)
    bytes "$salt$digest" | base64 | tr -d '\n'
}

while IFS= read -r line; do
    if [[ $line =~ '"name": "'([a-z-]+)'", "password_hash": ""' ]]; then
        file=$directory/rabbitmq-${BASH_REMATCH[1]}
        if [[ -e $file ]]; then
            password=$(<"$file")
            if [[ -z $password ]]; then
                echo "$file is empty" >&2
                exit 1
            fi
            line=${line/'"password_hash": ""'/'"password_hash": "'$(hashed "$password")'"'}
        fi
    fi
    printf '%s\n' "$line"
done
