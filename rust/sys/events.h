/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of ferrox: events/ferrox in tracefs.
 *
 * Rust calls them by rust/sys/trace.rs, which declares each a second time: keep
 * both in step.  Devices are dev_t, as in other filesystems' events.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ferrox

#if !defined(_FERROX_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define _FERROX_EVENTS_H

#include <linux/kdev_t.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

/* trace::Call */
#define FERROX_CALLS			\
	{ 1, "lookup" },		\
	{ 2, "create" },		\
	{ 3, "link" },			\
	{ 4, "unlink" },		\
	{ 5, "rename" },		\
	{ 6, "setattr" },		\
	{ 7, "read" },			\
	{ 8, "write" },			\
	{ 9, "fallocate" },		\
	{ 10, "fsync" },		\
	{ 11, "sync" },			\
	{ 12, "free" },			\
	{ 13, "remount" },		\
	{ 14, "share" }

/* format::log::Kind */
#define FERROX_RECORDS			\
	{ 1, "create" },		\
	{ 2, "link" },			\
	{ 3, "unlink" },		\
	{ 4, "rename" },		\
	{ 5, "set_attr" },		\
	{ 6, "map" },			\
	{ 7, "unmap" },			\
	{ 8, "free" },			\
	{ 9, "chunk_take" },		\
	{ 10, "chunk_give" },		\
	{ 11, "remove" },		\
	{ 12, "share" }

TRACE_EVENT(ferrox_op,
	TP_PROTO(u32 dev, u32 call, u64 ino, u64 dir, u64 pos, u64 len, s64 result),
	TP_ARGS(dev, call, ino, dir, pos, len, result),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, dir)
		__field(u64, pos)
		__field(u64, len)
		__field(s64, result)
		__field(u32, dev)
		__field(u32, call)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->call = call;
		__entry->ino = ino;
		__entry->dir = dir;
		__entry->pos = pos;
		__entry->len = len;
		__entry->result = result;
	),
	TP_printk("dev %d:%d call %s ino %llu dir %llu pos %llu len %llu result %lld",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __print_symbolic(__entry->call, FERROX_CALLS),
		  __entry->ino, __entry->dir, __entry->pos, __entry->len,
		  __entry->result)
);

TRACE_EVENT(ferrox_record,
	TP_PROTO(u32 dev, u32 kind, u64 lsn, u32 ring, u64 bytes),
	TP_ARGS(dev, kind, lsn, ring, bytes),
	TP_STRUCT__entry(
		__field(u64, lsn)
		__field(u64, bytes)
		__field(u32, dev)
		__field(u32, kind)
		__field(u32, ring)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->kind = kind;
		__entry->lsn = lsn;
		__entry->ring = ring;
		__entry->bytes = bytes;
	),
	TP_printk("dev %d:%d record %s lsn %llu ring %u bytes %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __print_symbolic(__entry->kind, FERROX_RECORDS),
		  __entry->lsn, __entry->ring, __entry->bytes)
);

TRACE_EVENT(ferrox_fault,
	TP_PROTO(u32 dev, u64 ino, u64 pos, u32 order, u32 store, u32 result),
	TP_ARGS(dev, ino, pos, order, store, result),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, pos)
		__field(u32, dev)
		__field(u32, order)
		__field(u32, store)
		__field(u32, result)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->ino = ino;
		__entry->pos = pos;
		__entry->order = order;
		__entry->store = store;
		__entry->result = result;
	),
	TP_printk("dev %d:%d ino %llu pos %llu order %u %s result %s",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->ino, __entry->pos, __entry->order,
		  __entry->store ? "store" : "load",
		  __print_flags(__entry->result, "|", VM_FAULT_RESULT_TRACE))
);

TRACE_EVENT(ferrox_checkpoint,
	TP_PROTO(u32 dev, u64 number, u64 cut, u64 nodes, u64 lines),
	TP_ARGS(dev, number, cut, nodes, lines),
	TP_STRUCT__entry(
		__field(u64, number)
		__field(u64, cut)
		__field(u64, nodes)
		__field(u64, lines)
		__field(u32, dev)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->number = number;
		__entry->cut = cut;
		__entry->nodes = nodes;
		__entry->lines = lines;
	),
	TP_printk("dev %d:%d number %llu cut %llu nodes %llu lines %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->number, __entry->cut, __entry->nodes, __entry->lines)
);

TRACE_EVENT(ferrox_shutdown,
	TP_PROTO(u32 dev, const u8 *why, u32 len),
	TP_ARGS(dev, why, len),
	TP_STRUCT__entry(
		__field(u32, dev)
		__dynamic_array(char, why, len + 1)
	),
	TP_fast_assign(
		__entry->dev = dev;
		memcpy(__get_dynamic_array(why), why, len);
		((char *)__get_dynamic_array(why))[len] = 0;
	),
	TP_printk("dev %d:%d why %s",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  (char *)__get_dynamic_array(why))
);

#endif /* _FERROX_EVENTS_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE events
#include <trace/define_trace.h>
