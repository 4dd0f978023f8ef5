#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Unpacks a tarball, again and again, and says of each file when it is finished.

    unpack.py TARBALL DIR

The nth time goes to DIR/n. "@ack file NAME" is printed after the file has its last byte, its
mode and its times.
"""

import itertools
import os
import sys
import tarfile

tarball, directory = sys.argv[1:]
for turn in itertools.count(1):
    with tarfile.open(tarball, "r:gz") as tar:
        for member in tar:
            tar.extract(member, os.path.join(directory, str(turn)), filter="tar")
            if member.isfile():
                if os.environ["FS"] != "ferrox":
                    os.sync()
                print("@ack file", os.path.join(str(turn), os.path.normpath(member.name)), flush=True)
