#!/bin/bash
# Use the key of a volume that is attached to this node: use_key.sh PROJECT VOLUME DO DEVICE [...]
set -euo pipefail
get=(kmworker client get "volume:$2" --project "$1" --purpose "$3" --output -)

# What LUKS calls its passphrase is the key in base64: cryptsetup takes any bytes, qemu takes text.
# Where the key is refused, this is where it ends: nothing is opened by an empty one.
passphrase=$("${get[@]}" | base64 --wrap=0)
secret=(--object secret,id=key,file=/dev/fd/3)

case $3 in
luks-format) # DEVICE
    printf %s "$passphrase" | cryptsetup luksFormat --batch-mode --key-file - "$4" ;;
luks-test) # DEVICE
    printf %s "$passphrase" | cryptsetup open --test-passphrase --key-file - "$4" ;;
luks-open) # DEVICE NAME
    printf %s "$passphrase" | cryptsetup open --key-file - "$4" "$5" ;;
plain-open) # DEVICE NAME; not from standard input, which cryptsetup would hash
    cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/fd/3 \
        "$4" "$5" 3< <(printf %s "$passphrase" | base64 --decode) ;;
qemu-create) # FILE SIZE
    qemu-img create -q -f luks "${secret[@]}" -o key-secret=key "$4" "$5" \
        3< <(printf %s "$passphrase") ;;
qemu-read) # FILE RAW
    qemu-img convert "${secret[@]}" --image-opts "driver=luks,key-secret=key,file.filename=$4" \
        -O raw "$5" 3< <(printf %s "$passphrase") ;;
libvirt-secret) # UUID, of a secret that virsh secret-define has made ephemeral and private
    virsh secret-set-value --plain --file /dev/fd/3 "$4" 3< <(printf %s "$passphrase") ;;
*)
    echo "use_key.sh: nothing is called $3" >&2
    exit 2 ;;
esac
