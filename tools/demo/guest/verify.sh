#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# verify.sh: the second life. Runs in a guest that found the NVDIMM as the power cut left it.
#
# $EXTRA/acked holds the lines that the host has seen acknowledged. For each step one line:
# @begin WHAT, then @ok DETAILS or @fail DETAILS. What fails does not keep the rest from being
# looked at.
set -uo pipefail
here=$EXTRA
acked=$here/acked
export HOME=/root GIT_CONFIG_GLOBAL=/root/.gitconfig
log=$(mktemp)

# step WHAT FUNCTION: its last line of output is what the summary shows.
step() {
	echo "@begin $1"
	if "$2" >"$log" 2>&1; then
		echo "@ok $(tail -n 1 "$log")"
	else
		sed 's/^/    /' "$log"
		echo "@fail $(tail -n 1 "$log")"
	fi
}
last() { grep "^$1 " "$acked" | tail -n 1 | cut -d' ' -f"${2:-2}"; }
now() { date +%s%N; }

check() {
	case $FS in
	ferrox)
		fsck.ferrox -n "$DEV" >/tmp/fsck 2>&1 || { cat /tmp/fsck; return 1; }
		# Of its lines the verdict and the count, as one.
		sed 's/^[^:]*: //; s/ (.*//' /tmp/fsck | paste -sd, | sed 's/;  */, /g; s/,\([^ ]\)/, \1/g'
		;;
	xfs) xfs_repair -n "$DEV" && echo clean ;;
	ext4) e2fsck -fn "$DEV" && echo clean ;;
	esac
}

recover() {
	local begin
	case $FS in
	ferrox) insmod "$MODULES/ferrox.ko" || return ;;
	xfs) modprobe xfs || return ;;
	esac
	begin=$(now)
	mount -t "$FS" -o "$(if [ "$FS" = ferrox ]; then echo dax; else echo dax=always; fi)" "$DEV" "$MNT" || return
	echo "@mount $((($(now) - begin) / 1000000))" >&3
	dmesg | sed -n 's/.*ferrox.*: recovered: \([0-9]*\) records.*/@replayed \1/p' | tail -n 1 >&3
	grep " $MNT " /proc/mounts | cut -d' ' -f1-4
}

clone() {
	local commit count n
	cd "$MNT/project" || return
	git config --global user.name demonstration
	git config --global user.email demo@localhost
	n=$(last git) commit=$(last git 3)
	# Loose objects that nothing names yet are no damage: the power went in the middle.
	git fsck --full --strict --no-progress || return
	git merge-base --is-ancestor "$commit" HEAD || { echo "acknowledged commit $commit is not in the history"; return 1; }
	[ "$(git show "$commit:JOURNAL" | tail -n 1)" = "entry $n" ] || { echo "the commit of entry $n does not hold it"; return 1; }
	count=$(git show HEAD:JOURNAL | wc -l)
	[ "$count" -ge "$n" ] || { echo "$n commits were acknowledged, $count are here"; return 1; }
	# And the work goes on: only the lock of the git that died is in the way.
	rm -f .git/index.lock .git/HEAD.lock .git/refs/heads/main.lock
	git reset -q --hard && echo "after the power cut" >>JOURNAL && git commit -q -a -m "after" || return
	git fsck --full --strict --no-progress || return
	echo "$count commits here, $n acknowledged; git fsck --full is content"
}

unpacked() {
	cd "$MNT/source" || return
	sha256sum --quiet -c "$here/source.sha256" || return
	echo "$(wc -l <"$here/source.sha256") files of before, every SHA-256 right"
}

# Of what was being unpacked: each acknowledged file by its checksum. Of the others only the one
# that was being written may be unfinished.
unpacking() {
	local found n unfinished
	cd "$MNT/again" || return
	sed -n 's,^file ,,p' "$acked" | sort >/tmp/acknowledged
	find . -type f | sed 's,^\./,,' | sort >/tmp/found
	# The checksum that each name ought to have; the first part is the turn.
	awk 'NR == FNR { sum = $1; sub(/^[^ ]*  /, ""); of[$0] = sum; next }
		{ name = $0; sub(/^[0-9]+\//, "", name); print of[name] "  " $0 }' \
		"$here/source.sha256" /tmp/found >/tmp/expected
	n=$(wc -l </tmp/acknowledged) found=$(wc -l </tmp/found)
	[ -z "$(comm -23 /tmp/acknowledged /tmp/found)" ] ||
		{ echo "acknowledged, and not here: $(comm -23 /tmp/acknowledged /tmp/found | head -n 3)"; return 1; }
	sha256sum -c /tmp/expected 2>/dev/null | sed -n 's/: FAILED$//p' | sort >/tmp/unfinished
	unfinished=$(wc -l </tmp/unfinished)
	if [ -n "$(comm -12 /tmp/acknowledged /tmp/unfinished)" ] || [ "$unfinished" -gt 1 ]; then
		echo "wrong contents: $(head -n 3 /tmp/unfinished)"
		return 1
	fi
	echo "$found files here, $n acknowledged; every SHA-256 right$([ "$unfinished" = 0 ] || echo ' but that of the one being written')"
}

ledger() { python3 "$here/ledger.py" verify "$MNT/ledger.db" "$(last sqlite)"; }

mapped() {
	local n count
	n=$(last pmem_log)
	pmem_log show "$MNT/log" >/tmp/log || return
	count=$(tail -n 1 /tmp/log | cut -d' ' -f1)
	# Every record is the one that was written.
	head -n "$count" /tmp/log | python3 -c 'import sys
for n, line in enumerate(sys.stdin, 1):
    want = f"{n} reading {n} {n * n % 9973} {chr(120) * (n % 150)}\n"
    if line != want:
        sys.exit(f"record {n} is {line!r}, not {want!r}")' || return
	[ "$count" -ge "$n" ] || { echo "$n records were acknowledged, $count are here"; return 1; }
	echo "and on" | pmem_log append "$MNT/log" >/dev/null || return
	echo "$count records here, $n acknowledged, every one whole"
}

leave() {
	cd / && umount "$MNT" && check
}

exec 3>&1
# The others' checkers want their log replayed by a mount first.
[ "$FS" != ferrox ] || step "fsck: the device as the power cut left it" check
step "mount: and recovery" recover
step "git: the clone and its new commits" clone
step "tar: what was unpacked before" unpacked
step "tar: what was being unpacked" unpacking
step "sqlite: the ledger" ledger
step "pmem_log: the MAP_SYNC log" mapped
step "fsck: once more, after the unmount" leave
echo "@done"
