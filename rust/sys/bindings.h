/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C declarations that the kernel crate's own bindings lack.
 *
 * bindgen reads helpers.c, which includes this file, and keeps only what the
 * headers below declare (the allow-list stands in Kbuild).  Every other name
 * resolves to kernel::bindings, so that an inode here is the kernel crate's
 * inode.
 */
#ifndef FERROX_SYS_BINDINGS_H
#define FERROX_SYS_BINDINGS_H

#include <linux/backing-dev.h>
#include <linux/badblocks.h>
#include <linux/blkdev.h>
#include <linux/cpumask.h>
#include <linux/crc32.h>
#include <linux/dax.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fs_struct.h>
#include <linux/fserror.h>
#include <linux/highmem.h>
#include <linux/io.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/kmemleak.h>
#include <linux/kobject.h>
#include <linux/libnvdimm.h>
#include <linux/memory-failure.h>
#include <linux/mm.h>
#include <linux/mnt_idmapping.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/percpu-rwsem.h>
#include <linux/percpu.h>
#include <linux/pfn.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/random.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/statfs.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>
#include <linux/xattr.h>

#ifdef __BINDGEN__
#define XA_PRESENT_MARK ((__force unsigned int)XA_PRESENT)
#define VM_FAULT_ERROR_BITS ((__force unsigned int)(VM_FAULT_ERROR))
#define VM_SYNC_FLAG ((unsigned long)VM_SYNC)
#define VM_SHARED_FLAG ((unsigned long)VM_SHARED)
#define GFP_FS_BIT ((__force unsigned int)__GFP_FS)
/*
 * Constants that are macros bindgen cannot evaluate by itself.  Kbuild takes
 * the prefix off.
 */
#define FERROX_CONST(type, name) const type RUST_CONST_HELPER_##name = name
FERROX_CONST(unsigned long, SB_RDONLY);
FERROX_CONST(unsigned long, SB_SYNCHRONOUS);
FERROX_CONST(unsigned long, SB_DIRSYNC);
FERROX_CONST(unsigned long, SB_NOATIME);
FERROX_CONST(unsigned long, SB_NODIRATIME);
FERROX_CONST(unsigned long, SB_SILENT);
FERROX_CONST(unsigned long, SB_POSIXACL);
FERROX_CONST(unsigned long, SB_I_VERSION);
FERROX_CONST(unsigned long, SB_LAZYTIME);
FERROX_CONST(unsigned long, SB_FORCE);
FERROX_CONST(unsigned long, SB_NOSEC);
FERROX_CONST(unsigned long, SB_BORN);
FERROX_CONST(unsigned long, SB_ACTIVE);
FERROX_CONST(unsigned int, FOP_MMAP_SYNC);
FERROX_CONST(unsigned int, FOP_DIO_PARALLEL_WRITE);
FERROX_CONST(unsigned int, FOP_DONTCACHE);
FERROX_CONST(unsigned int, FOP_BUFFER_RASYNC);
FERROX_CONST(unsigned int, FOP_BUFFER_WASYNC);
FERROX_CONST(unsigned int, FMODE_CAN_ODIRECT);
FERROX_CONST(unsigned int, FMODE_NOWAIT);
FERROX_CONST(unsigned int, FMODE_READ);
FERROX_CONST(unsigned int, FMODE_WRITE);
FERROX_CONST(unsigned int, IOCB_DSYNC);
FERROX_CONST(unsigned int, IOCB_SYNC);
FERROX_CONST(unsigned int, IOCB_NOWAIT);
FERROX_CONST(unsigned int, IOCB_APPEND);
FERROX_CONST(long long, MAX_LFS_FILESIZE);
FERROX_CONST(unsigned int, GFP_FS_BIT);
FERROX_CONST(unsigned int, VM_FAULT_ERROR_BITS);
FERROX_CONST(unsigned long, VM_SYNC_FLAG);
FERROX_CONST(unsigned long, VM_SHARED_FLAG);
FERROX_CONST(unsigned int, XA_PRESENT_MARK);
FERROX_CONST(unsigned int, LOOKUP_CREATE);
FERROX_CONST(blk_mode_t, BLK_OPEN_READ);
FERROX_CONST(blk_mode_t, BLK_OPEN_WRITE);
#endif

#endif
