#!/bin/sh
# Switch on the users of users.acl whose passwords are in files:
#
#   ./with-passwords.sh DIRECTORY < users.acl > /etc/redis/users.acl
#
# The password of user worker is the content of DIRECTORY/redis-worker, without its last line
# break. A user without a file stays off. The result has hashes only; they are plain SHA-256,
# so make long random passwords: openssl rand -hex 32
set -eu

directory=$1

while IFS= read -r line; do
    case $line in
    'user default '*) ;; # stays off: whoever connects has to say who they are
    'user '*' off '*)
        user=${line#user }
        user=${user%% *}
        file=$directory/redis-$user
        if [ -e "$file" ]; then
            password=$(cat "$file")
            if [ -z "$password" ]; then
                echo "$file is empty" >&2
                exit 1
            fi
            hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
            line="user $user on #$hash ${line#* off }"
        fi
        ;;
    esac
    printf '%s\n' "$line"
done
