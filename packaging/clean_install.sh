#!/usr/bin/env bash
# The package on a Debian 12 that holds nothing else: clean_install.sh DEB. Made by debootstrap below TMPDIR, where apt installs the
# package and what it depends on; then the program, and a C program compiled against the library, run there. Needs root, a
# network and debootstrap; exit code 77 without.
set -euo pipefail
deb=$(realpath "$1")
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "clean_install.sh needs root and debootstrap" >&2
    exit 77
fi
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# Inside, with a /proc of its own that is gone afterwards.
inside() { unshare --mount --pid --fork chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
    sh -ec "mount -t proc proc /proc; $1"; }

echo "debootstrap from $mirror"
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
rm "$root.log"
before=$(du -sm "$root" | cut -f1)
chmod 755 "$root" # apt reads the package as a user of its own
cp "$deb" "$root/tmp/"
inside "apt-get -q=2 -o Dpkg::Use-Pty=0 install --no-install-recommends ./tmp/${deb##*/} >/dev/null 2>&1"
rm -f "$root"/var/cache/apt/archives/*.deb "$root"/tmp/*.deb
echo "installed: $(inside "dpkg-query -W -f '\${Package} \${Version} \${Status}' latentr3"), $(($(du -sm "$root" | cut -f1) - before)) MiB with all that it depends on"
inside 'latentr3 --version; cd; latentr3 synth --out world 2>/dev/null
    title=$(head -1 world/data/info.txt | cut -f1)
    latentr3 recommend --model world/model --data world/data --history "$title" -k 3 2>/dev/null'

echo "a C program, with gcc and pkg-config"
inside 'apt-get -q=2 -o Dpkg::Use-Pty=0 install --no-install-recommends gcc libc6-dev pkg-config >/dev/null 2>&1; cd
    cc -Wall -Wextra -Werror /usr/share/doc/latentr3/examples/recommend.c $(pkg-config --cflags --libs latentr3) -o example
    title=$(head -1 world/data/info.txt | cut -f1)
    ./example world/model world/data "$title" 2>/dev/null >list
    cat list; test -s list
    cut -f3 list >ids
    latentr3 recommend --model world/model --data world/data --history "$title" --exclude-seen 2>/dev/null |
        sed -n "s/.*(\([0-9]*\))$/\1/p" | cmp - ids'
inside 'apt-get -q=2 -o Dpkg::Use-Pty=0 purge latentr3 >/dev/null; ! command -v latentr3; test -z "$(find / -xdev -path /root -prune -o -name "*latentr3*" -print)"'
echo "removed again, nothing is left"
