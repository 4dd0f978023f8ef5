# SPDX-License-Identifier: GPL-2.0
#
# In the guest: forced races, and the files they left after a mount. The free space is full of
# 0xee before, so that a byte that nobody zeroed is seen.
set -eu
cd "$MNT"
python3 - <<'END'
import os
fd = os.open("fill", os.O_CREAT | os.O_WRONLY)
try:
    while os.write(fd, b"\xee" * (1 << 20)):
        pass
except OSError as e:
    print("filled:", e)
END
rm fill
races run "/sys/fs/ferrox/$(basename "$DEV")" /tmp/kept "${SECONDS_:-45}" "${SEED:-$RANDOM}" "${ONLY_:-}"
cd /
umount "$MNT"
fsck.ferrox -n "$DEV"
mount -t ferrox -o dax "$DEV" "$MNT"
cd "$MNT"
races verify /tmp/kept
