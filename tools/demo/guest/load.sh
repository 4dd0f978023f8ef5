#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# load.sh: the first life. Runs in the guest until the power goes.
#
# Lines that begin with @ are for tools/demo/run on the host:
#
#   @begin WHAT      a step begins         @ok WHAT     it is done and as it should be
#   @ack KIND ...    a program was told that this much is durable
#   @enough          every program has done its share: the power may go at any moment
#
# An acknowledgement counts when the host has it, and the host is not what loses power. Whatever
# it has seen acknowledged must be there in the second life (verify.sh).
#
# ferrox is synchronous: a call that returned is durable. So nothing here syncs on ferrox, git is
# even told not to. For the other filesystems (FS=xfs, FS=ext4) each acknowledgement is preceded
# by what they need.
set -euo pipefail
cd "$MNT"
here=$EXTRA
export HOME=/root GIT_CONFIG_GLOBAL=/root/.gitconfig
settle() { [ "$FS" = ferrox ] || sync; }
trap 'echo "@fail line $LINENO: $BASH_COMMAND"' ERR

git config --global user.name demonstration
git config --global user.email demo@localhost
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global core.fsync "$([ "$FS" = ferrox ] && echo none || echo all)"

# --- to the end, before anything goes wrong ---------------------------------

echo "@begin git clone, with its history"
git clone -q "file://$here/project.git" project
git -C project fsck --full --strict --no-progress
[ -z "$(git -C project status --porcelain)" ]
settle
echo "@ok $(git -C project rev-list --count HEAD) commits, $(git -C project ls-files | wc -l) files, git fsck --full is content"

echo "@begin tar: unpacking a source tarball"
mkdir source
tar -xzf "$here/source.tar.gz" -C source
(cd source && sha256sum --quiet -c "$here/source.sha256")
settle
echo "@ok $(wc -l <"$here/source.sha256") files, $(du -s --apparent-size -BK source | cut -f1), every SHA-256 right"

echo "@begin sqlite: a ledger of 100 accounts"
python3 "$here/ledger.py" make ledger.db
settle
echo "@ok made, PRAGMA integrity_check is content"

# --- the load ---------------------------------------------------------------

# Entries in a journal, each a commit.
committing() {
	local n=0
	cd project
	while :; do
		n=$((n + 1))
		echo "entry $n" >>JOURNAL
		git add JOURNAL
		git commit -q -m "entry $n"
		settle
		echo "@ack git $n $(git rev-parse HEAD)"
	done
}

# Lines into a log that is mapped MAP_SYNC. Its producer is slow, so that all programs get on.
logging() {
	python3 -uc 'import time, itertools
for n in itertools.count(1):
    print("reading", n, n * n % 9973, "x" * (n % 150), flush=True)
    time.sleep(0.001)' | pmem_log append --every 10 log | sed -u -n 's/^[0-9]/@ack pmem_log &/p'
}

# The programs' acknowledgements, and "@enough" when each has given its share.
until_enough() {
	local -A share=([git]=5 [sqlite]=50 [file]=100 [pmem_log]=100)
	local left=4 word kind rest
	while read -r word kind rest; do
		echo "$word $kind $rest"
		[ "$word" = @ack ] || continue
		share[$kind]=$((share[$kind] - 1))
		[ "${share[$kind]}" != 0 ] || left=$((left - 1))
		if [ "$left" = 0 ]; then
			left=-1
			echo @enough
		fi
	done
}

echo "@begin all at once: git commits, sqlite transfers, unpacking, a MAP_SYNC log"
mkdir again
{
	committing &
	logging &
	python3 "$here/ledger.py" transfer ledger.db &
	python3 "$here/unpack.py" "$here/source.tar.gz" again &
	wait
} | until_enough
echo "@fail the load has ended by itself"
