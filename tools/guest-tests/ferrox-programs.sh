#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# Real programs on real files: cp, tar, git, sqlite, execution, a MAP_SYNC log.
set -e
fail() { echo "FAIL: $*"; exit 1; }
export GIT_CONFIG_GLOBAL=/tmp/gitconfig
git config --global user.name test
git config --global user.email test@localhost
git config --global init.defaultBranch main
git config --global gc.auto 0
files=/usr/lib/python3.*/
cd "$MNT"

# Files of all kinds of sizes, there and back.
mkdir tree
for part in json email importlib sqlite3 collections; do cp -a $files/$part tree/; done
for part in json email importlib sqlite3 collections; do diff -r $files/$part tree/$part; done
tar -cf tree.tar tree
mkdir out
tar -xf tree.tar -C out
diff -r tree out/tree
tar -df tree.tar -C out
find tree -type f | sort | xargs sha256sum >sums
mv out/tree moved
rmdir out
(cd moved && sed 's,  tree/,  ,' ../sums | sha256sum --quiet -c)

# Execution: pages of a program come straight from the media.
cp /bin/ls .
[ "$(./ls tree | wc -l)" = 5 ] || fail "ls from here"
printf '#!/bin/sh\necho script $1\n' >script
chmod +x script
[ "$(./script 7)" = "script 7" ] || fail "a script from here"

# git: objects, a clone, a branch, a merge, a collection of garbage.
git init -q repo
cd repo
cp -a ../tree/json ../tree/email .
git add .
git commit -q -m one
git checkout -q -b side
echo side >side
git add side
git commit -q -m side
git checkout -q main
echo main >main
git add main
git commit -q -m main
git merge -q -m merge side
cd ..
git clone -q repo clone
git clone -q "file://$MNT/repo" packed
for r in repo clone packed; do
	git -C $r fsck --full --strict --no-progress
	[ -z "$(git -C $r status --porcelain)" ] || fail "$r is not clean"
	[ "$(git -C $r rev-list --count HEAD)" = 4 ] || fail "$r: history"
done
git -C repo gc -q --prune=now
git -C repo fsck --full --strict --no-progress

# sqlite in both journal modes, through a mapping too.
for mode in DELETE WAL; do
	sqlite3 $mode.db "PRAGMA journal_mode=$mode; PRAGMA synchronous=FULL; PRAGMA mmap_size=16777216;
		CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t (b);
		WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000)
			INSERT INTO t SELECT x, hex(x * 7919 % 3001) || printf('%0200d', x) FROM c;" >/dev/null
	for n in 1 2 3 4 5; do
		sqlite3 $mode.db "PRAGMA mmap_size=16777216; BEGIN; DELETE FROM t WHERE a % 11 = $n;
			UPDATE t SET b = b || 'x' WHERE a % 7 = $n; COMMIT; VACUUM;" >/dev/null
	done
	[ "$(sqlite3 $mode.db 'PRAGMA integrity_check; SELECT count(*) FROM t;' | tr '\n' ' ')" = "ok 1635 " ] ||
		fail "sqlite $mode: $(sqlite3 $mode.db 'PRAGMA integrity_check; SELECT count(*) FROM t;' | head -n 3)"
done

# A log through MAP_SYNC.
seq 1 2000 | pmem_log append --every 100 log >acks
[ "$(tail -n 1 acks)" = 2000 ] || fail "pmem_log"
seq 2001 2500 | pmem_log append --every 500 log >acks
[ "$(cat acks | tr '\n' ' ')" = "recovered 2000 2500 " ] || fail "pmem_log again: $(cat acks)"

# And all of it after a mount.
cd /
umount "$MNT"
mount -t "$FS" -o "$([ "$FS" = ferrox ] && echo dax || echo dax=always)" "$DEV" "$MNT"
cd "$MNT"
sha256sum --quiet -c sums
git -C repo fsck --full --strict --no-progress
[ "$(sqlite3 WAL.db 'PRAGMA integrity_check')" = ok ]
pmem_log show log | awk 'NF == 2 && $1 == $2 { n++ } END { exit n != 2500 }' || fail "pmem_log show"
rm -rf tree moved repo clone packed
[ ! -e tree ]
