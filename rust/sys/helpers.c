// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers of the inline functions and macros that bindgen cannot see.
 *
 * The prefix ferrox_helper_ comes off in the generated Rust: i_size_read here
 * is sys::i_size_read there.  Each does the one call its name says, with that
 * call's rules, and nothing else.
 */

#include "bindings.h"

#define HELPER(type, name) type ferrox_helper_##name

/* The declarations that -Wmissing-prototypes asks for would say it all twice. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-declarations"

/* Whole pages: those of the filesystem's nodes.  They hold no pointers. */

HELPER(void *, zeroed_page)(void)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);

	kmemleak_alloc(page, PAGE_SIZE, 1, GFP_KERNEL);
	return page;
}

HELPER(void, free_page)(void *page)
{
	kmemleak_free(page);
	free_page((unsigned long)page);
}

/* Inode: size, locks, times, owners, flags. */

HELPER(loff_t, i_size_read)(const struct inode *inode)
{
	return i_size_read(inode);
}

HELPER(void, i_size_write)(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

HELPER(void, inode_lock)(struct inode *inode)
{
	inode_lock(inode);
}

HELPER(void, inode_lock_shared)(struct inode *inode)
{
	inode_lock_shared(inode);
}

HELPER(int, inode_trylock)(struct inode *inode)
{
	return inode_trylock(inode);
}

HELPER(int, inode_trylock_shared)(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

HELPER(void, inode_unlock)(struct inode *inode)
{
	inode_unlock(inode);
}

HELPER(void, inode_unlock_shared)(struct inode *inode)
{
	inode_unlock_shared(inode);
}

/* All times at once: atime, mtime, ctime. */
HELPER(void, inode_get_times)(const struct inode *inode, struct timespec64 *ts)
{
	ts[0] = inode_get_atime(inode);
	ts[1] = inode_get_mtime(inode);
	ts[2] = inode_get_ctime(inode);
}

HELPER(void, inode_get_atime)(const struct inode *inode, struct timespec64 *ts)
{
	*ts = inode_get_atime(inode);
}

HELPER(void, inode_get_mtime)(const struct inode *inode, struct timespec64 *ts)
{
	*ts = inode_get_mtime(inode);
}

HELPER(void, inode_get_ctime)(const struct inode *inode, struct timespec64 *ts)
{
	*ts = inode_get_ctime(inode);
}

HELPER(void, inode_set_atime)(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_atime(inode, sec, nsec);
}

HELPER(void, inode_set_mtime)(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

HELPER(void, inode_set_ctime)(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

/*
 * Nearly every filesystem is mounted from the first user namespace.  Its map
 * is one extent, from all to the same, and cannot be written: no need to search.
 */

HELPER(uid_t, i_uid_read)(const struct inode *inode)
{
	if (i_user_ns(inode) == &init_user_ns)
		return __kuid_val(inode->i_uid);
	return i_uid_read(inode);
}

HELPER(gid_t, i_gid_read)(const struct inode *inode)
{
	if (i_user_ns(inode) == &init_user_ns)
		return __kgid_val(inode->i_gid);
	return i_gid_read(inode);
}

HELPER(void, i_uid_write)(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

HELPER(void, i_gid_write)(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

HELPER(void, mark_inode_dirty)(struct inode *inode)
{
	mark_inode_dirty(inode);
}

HELPER(void, mark_inode_dirty_sync)(struct inode *inode)
{
	mark_inode_dirty_sync(inode);
}

HELPER(int, inode_unhashed)(struct inode *inode)
{
	return inode_unhashed(inode);
}

HELPER(void, insert_inode_hash)(struct inode *inode)
{
	insert_inode_hash(inode);
}

HELPER(void, inode_set_cached_link)(struct inode *inode, char *link, int len)
{
	inode_set_cached_link(inode, link, len);
}

HELPER(void, set_delayed_call)(struct delayed_call *call, void (*fn)(void *),
			       void *arg)
{
	set_delayed_call(call, fn, arg);
}

HELPER(bool, IS_DAX)(const struct inode *inode)
{
	return IS_DAX(inode);
}

HELPER(void, inode_update_timestamp_cm)(struct inode *inode)
{
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
}

/* The slab cache of a filesystem's inodes. */

HELPER(struct kmem_cache *, inode_cache_create)(const char *name,
		unsigned int size, unsigned int align, void (*ctor)(void *))
{
	struct kmem_cache_args args = {
		.align = align,
		.ctor = ctor,
	};

	return kmem_cache_create(name, size, &args,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT);
}

HELPER(void *, alloc_inode_sb)(struct super_block *sb, struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

/* The slab cache of what a filesystem shares by counting. */

HELPER(struct kmem_cache *, pool_cache_create)(const char *name,
		unsigned int size, unsigned int align, void (*ctor)(void *))
{
	struct kmem_cache_args args = {
		.align = align,
		.ctor = ctor,
	};

	return kmem_cache_create(name, size, &args, SLAB_RECLAIM_ACCOUNT);
}

HELPER(void *, pool_cache_alloc)(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_KERNEL);
}

/* Superblock: freeze protection, state. */

HELPER(bool, sb_rdonly)(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

HELPER(void, sb_start_write)(struct super_block *sb)
{
	sb_start_write(sb);
}

HELPER(void, sb_end_write)(struct super_block *sb)
{
	sb_end_write(sb);
}

HELPER(void, sb_start_pagefault)(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

HELPER(void, sb_end_pagefault)(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

HELPER(void, sb_start_intwrite)(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

HELPER(bool, sb_start_intwrite_trylock)(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

HELPER(void, sb_end_intwrite)(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

/* The device as stat shows it, in 32 bits. */
HELPER(u32, sb_device)(const struct super_block *sb)
{
	return new_encode_dev(sb->s_dev);
}

HELPER(void, super_set_uuid)(struct super_block *sb, const u8 *uuid)
{
	super_set_uuid(sb, uuid, 16);
}

HELPER(void, u64_to_fsid)(u64 v, __kernel_fsid_t *fsid)
{
	*fsid = u64_to_fsid(v);
}

/* The mount context's log; level is 'e', 'w' or 'i'. */

HELPER(void, fc_log)(struct fs_context *fc, char level, const char *text,
		     int len)
{
	logfc(fc->log.log, fc->log.prefix, level, "%.*s", len, text);
}

/* Files. */

HELPER(struct mnt_idmap *, file_mnt_idmap)(const struct file *file)
{
	return file_mnt_idmap(file);
}

HELPER(struct mnt_idmap *, mnt_idmap)(const struct vfsmount *mnt)
{
	return mnt_idmap(mnt);
}

HELPER(void, file_accessed)(struct file *file)
{
	file_accessed(file);
}

HELPER(ssize_t, generic_write_sync)(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

HELPER(bool, iocb_is_dsync)(const struct kiocb *iocb)
{
	return iocb_is_dsync(iocb);
}

HELPER(bool, dir_emit)(struct dir_context *ctx, const char *name, int len,
		       u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

HELPER(bool, dir_emit_dots)(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

HELPER(int, finish_open_simple)(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

/* Owners under an idmapped mount, as the superblock's namespace numbers them. */

HELPER(uid_t, iattr_uid)(struct mnt_idmap *idmap, const struct inode *inode,
			 const struct iattr *attr)
{
	return from_kuid(i_user_ns(inode),
			 from_vfsuid(idmap, i_user_ns(inode), attr->ia_vfsuid));
}

HELPER(gid_t, iattr_gid)(struct mnt_idmap *idmap, const struct inode *inode,
			 const struct iattr *attr)
{
	return from_kgid(i_user_ns(inode),
			 from_vfsgid(idmap, i_user_ns(inode), attr->ia_vfsgid));
}

/*
 * Persistent memory, DAX and iomap.
 */

/* Whether the driver offers DAX at all, and where the device's part begins. */

HELPER(bool, bdev_dax)(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev));
}

HELPER(u64, bdev_start)(struct block_device *bdev)
{
	return get_start_sect(bdev) * SECTOR_SIZE;
}

HELPER(u64, bdev_bytes)(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

HELPER(bool, bdev_read_only)(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

/* Stores that go by the cache, stores that do not, and the fence. */

HELPER(void, pmem_store)(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

/*
 * memcpy_flushcache() with a loop of twice the stride: most of what is stored
 * here is a few aligned words, or whole lines.
 */
HELPER(void, pmem_store_through)(void *to, const void *from, size_t len)
{
#ifdef CONFIG_X86_64
	if (IS_ALIGNED((unsigned long)to, 8)) {
		for (; len >= 64; to += 64, from += 64, len -= 64)
			asm volatile("movq 0(%1), %%r8\n"
				     "movq 8(%1), %%r9\n"
				     "movq 16(%1), %%r10\n"
				     "movq 24(%1), %%r11\n"
				     "movnti %%r8, 0(%0)\n"
				     "movnti %%r9, 8(%0)\n"
				     "movnti %%r10, 16(%0)\n"
				     "movnti %%r11, 24(%0)\n"
				     "movq 32(%1), %%r8\n"
				     "movq 40(%1), %%r9\n"
				     "movq 48(%1), %%r10\n"
				     "movq 56(%1), %%r11\n"
				     "movnti %%r8, 32(%0)\n"
				     "movnti %%r9, 40(%0)\n"
				     "movnti %%r10, 48(%0)\n"
				     "movnti %%r11, 56(%0)\n"
				     : : "r" (to), "r" (from)
				     : "memory", "r8", "r9", "r10", "r11");
		for (; len >= 8; to += 8, from += 8, len -= 8)
			asm volatile("movq (%1), %%r8\n"
				     "movnti %%r8, (%0)\n"
				     : : "r" (to), "r" (from) : "memory", "r8");
	}
#endif
	if (len)
		memcpy_flushcache(to, from, len);
}

HELPER(void, pmem_store_word)(u64 *to, u64 word)
{
#ifdef CONFIG_X86_64
	asm volatile("movnti %1, %0" : "=m" (*to) : "r" (word));
#else
	WRITE_ONCE(*to, word);
	arch_wb_cache_pmem(to, sizeof(*to));
#endif
}

HELPER(void, pmem_zero_through)(void *to, size_t len)
{
	static const u8 zeroes[64];

#ifdef CONFIG_X86_64
	/* What is before the first whole line, whole lines, what is after. */
	size_t head = min_t(size_t, -(unsigned long)to & 63, len);

	if (head) {
		memcpy_flushcache(to, zeroes, head);
		to += head;
		len -= head;
	}
	while (len >= 64) {
		asm volatile("movnti %1, 0(%0)\n"
			     "movnti %1, 8(%0)\n"
			     "movnti %1, 16(%0)\n"
			     "movnti %1, 24(%0)\n"
			     "movnti %1, 32(%0)\n"
			     "movnti %1, 40(%0)\n"
			     "movnti %1, 48(%0)\n"
			     "movnti %1, 56(%0)\n"
			     : : "r" (to), "r" (0UL) : "memory");
		to += 64;
		len -= 64;
	}
#endif
	while (len) {
		size_t n = min_t(size_t, len, sizeof(zeroes));

		memcpy_flushcache(to, zeroes, n);
		to += n;
		len -= n;
	}
}

HELPER(void, pmem_fence)(void)
{
	pmem_wmb();
}

/* Numbers that each CPU counts for itself. */

HELPER(u64 __percpu *, percpu_alloc)(size_t words)
{
	return __alloc_percpu(words * sizeof(u64), __alignof__(u64));
}

HELPER(void, percpu_add)(u64 __percpu *counter, u64 n)
{
	this_cpu_add(*counter, n);
}

HELPER(u64, percpu_sum)(u64 __percpu *counter)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(counter, cpu));
	return sum;
}

/* The mapping's lock against truncation, and the size of a fault's page. */

HELPER(void, filemap_invalidate_lock)(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

HELPER(int, filemap_invalidate_trylock)(struct address_space *mapping)
{
	return down_write_trylock(&mapping->invalidate_lock);
}

HELPER(void, filemap_invalidate_unlock)(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

HELPER(void, filemap_invalidate_lock_shared)(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

HELPER(int, filemap_invalidate_trylock_shared)(struct address_space *mapping)
{
	return filemap_invalidate_trylock_shared(mapping);
}

HELPER(void, filemap_invalidate_unlock_shared)(struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

HELPER(bool, mapping_empty)(struct address_space *mapping)
{
	return mapping_empty(mapping);
}

HELPER(bool, mapping_dirty)(struct address_space *mapping)
{
	return mapping_tagged(mapping, PAGECACHE_TAG_DIRTY) ||
	       mapping_tagged(mapping, PAGECACHE_TAG_TOWRITE);
}

HELPER(bool, daxdev_mapping_supported)(const struct vm_area_desc *desc,
		const struct inode *inode, struct dax_device *dax)
{
	return daxdev_mapping_supported(desc, inode, dax);
}

HELPER(void, vma_desc_set_huge)(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_HUGEPAGE_BIT);
}

HELPER(bool, vma_desc_is_sync)(const struct vm_area_desc *desc)
{
	return vma_desc_test(desc, VMA_SYNC_BIT);
}

HELPER(bool, vma_desc_is_shared)(const struct vm_area_desc *desc)
{
	return vma_desc_test(desc, VMA_SHARED_BIT);
}

HELPER(bool, vma_desc_may_write)(const struct vm_area_desc *desc)
{
	return vma_desc_test(desc, VMA_MAYWRITE_BIT);
}

HELPER(unsigned long, vma_flags)(const struct vm_area_struct *vma)
{
	return vma->vm_flags;
}

HELPER(vm_fault_t, vmf_error)(int error)
{
	return vmf_error(error);
}

HELPER(void, iov_iter_truncate)(struct iov_iter *iter, u64 count)
{
	iov_iter_truncate(iter, count);
}

HELPER(void, iov_iter_reexpand)(struct iov_iter *iter, size_t count)
{
	iov_iter_reexpand(iter, count);
}

HELPER(void, pagefault_disable)(void)
{
	pagefault_disable();
}

HELPER(void, pagefault_enable)(void)
{
	pagefault_enable();
}

/* The entries of a mapping in persistent memory: numbers that fs/dax.c makes. */

HELPER(bool, dax_entry_load)(struct address_space *mapping, pgoff_t index,
			     unsigned long *value)
{
	void *entry = xa_load(&mapping->i_pages, index);

	if (!xa_is_value(entry))
		return false;
	*value = xa_to_value(entry);
	return true;
}

HELPER(int, dax_entry_store)(struct address_space *mapping, pgoff_t index,
			     unsigned long value)
{
	return xa_err(xa_store_irq(&mapping->i_pages, index,
				   xa_mk_value(value), GFP_KERNEL));
}

/*
 * How many mappings have an entry for a page.  fs/dax.c counts them under the
 * lock of one of these mappings, which keeps nobody out who has another: here
 * all who count hold a mutex.  See rust/vfs/dax/sharing.rs.
 */

static DEFINE_MUTEX(ferrox_dax_sharing);

HELPER(void, dax_sharing_lock)(void)
{
	mutex_lock(&ferrox_dax_sharing);
}

HELPER(void, dax_sharing_unlock)(void)
{
	mutex_unlock(&ferrox_dax_sharing);
}

/* One more, as dax_folio_make_shared() and dax_associate_entry() count it. */
HELPER(bool, dax_page_keep)(struct address_space *mapping, unsigned long frame)
{
	struct folio *folio = page_folio(pfn_to_page(frame));
	bool counted;

	xa_lock_irq(&mapping->i_pages);
	counted = !folio_test_large(folio) && (folio->mapping || folio->share);
	if (counted) {
		if (folio->mapping) {
			folio->mapping = NULL;
			folio->share = 1;
		}
		folio->share++;
	}
	xa_unlock_irq(&mapping->i_pages);
	return counted;
}

/*
 * One less, as dax_folio_put() counts it; but not the last one of a page that
 * has references.  No mapping has that one, so none can be added.
 */
HELPER(bool, dax_page_let_go)(unsigned long frame)
{
	struct folio *folio = page_folio(pfn_to_page(frame));

	lockdep_assert_held(&ferrox_dax_sharing);
	if (folio->mapping || !folio->share)
		return true;
	if (folio->share > 1) {
		folio->share--;
		return true;
	}
	if (folio_ref_count(folio))
		return false;
	dax_folio_reset_order(folio);
	return true;
}

/* dax_break_layout_final(), with the mutex where it counts. */
HELPER(void, dax_evict)(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;
	struct page *page;

	if (!dax_mapping(mapping) || mapping_empty(mapping))
		return;
	while ((page = dax_layout_busy_page_range(mapping, 0, LLONG_MAX)))
		___wait_var_event(page, dax_page_is_idle(page),
				  TASK_UNINTERRUPTIBLE, 0, 0, schedule());
	mutex_lock(&ferrox_dax_sharing);
	dax_delete_mapping_range(mapping, 0, LLONG_MAX);
	mutex_unlock(&ferrox_dax_sharing);
}

/* A page of the lowest memory, and its number. */

HELPER(void *, low_page)(unsigned long *frame)
{
	void *page = (void *)__get_free_page(GFP_DMA | __GFP_NOWARN);

	if (page)
		*frame = page_to_pfn(virt_to_page(page));
	return page;
}

HELPER(void, low_page_free)(void *page)
{
	free_page((unsigned long)page);
}

HELPER(struct page *, virt_to_page)(void *page)
{
	return virt_to_page(page);
}

/* Locks. */

HELPER(void, down_read_nested)(struct rw_semaphore *sem, int subclass)
{
	down_read_nested(sem, subclass);
}

HELPER(void, down_write_nested)(struct rw_semaphore *sem, int subclass)
{
	down_write_nested(sem, subclass);
}

HELPER(void, percpu_down_read)(struct percpu_rw_semaphore *sem)
{
	percpu_down_read(sem);
}

HELPER(bool, percpu_down_read_trylock)(struct percpu_rw_semaphore *sem)
{
	return percpu_down_read_trylock(sem);
}

HELPER(void, percpu_up_read)(struct percpu_rw_semaphore *sem)
{
	percpu_up_read(sem);
}

HELPER(unsigned int, memalloc_nofs_save)(void)
{
	return memalloc_nofs_save();
}

HELPER(void, memalloc_nofs_restore)(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

HELPER(int, sleep_state_killable)(void)
{
	return TASK_KILLABLE;
}

HELPER(bool, fatal_signal_pending)(void)
{
	return fatal_signal_pending(current);
}

HELPER(void, might_sleep)(void)
{
	might_sleep();
}

HELPER(void, cond_resched)(void)
{
	cond_resched();
}

/* Work. */

HELPER(struct workqueue_struct *, alloc_workqueue)(const char *name,
						   unsigned int flags, int most)
{
	return alloc_workqueue("%s", flags, most, name);
}

HELPER(struct shrinker *, shrinker_make)(const char *name)
{
	return shrinker_alloc(0, "%s", name);
}

HELPER(unsigned long, msecs_to_jiffies)(unsigned int ms)
{
	return msecs_to_jiffies(ms);
}

HELPER(unsigned int, cpu_numbers)(void)
{
	return nr_cpu_ids;
}

HELPER(unsigned int, this_cpu)(void)
{
	return raw_smp_processor_id();
}

/* sysfs: what is shared by the directories of one filesystem type. */

static DEFINE_MUTEX(ferrox_sysfs_roots);

HELPER(void, sysfs_roots_lock)(void)
{
	mutex_lock(&ferrox_sysfs_roots);
}

HELPER(void, sysfs_roots_unlock)(void)
{
	mutex_unlock(&ferrox_sysfs_roots);
}

HELPER(int, kobject_init_and_add)(struct kobject *kobj,
		const struct kobj_type *type, struct kobject *parent,
		const char *name)
{
	return kobject_init_and_add(kobj, type, parent, "%s", name);
}

/* Filling an inode in. */

HELPER(void, inode_set_blocks)(struct inode *inode, u64 blocks)
{
	spin_lock(&inode->i_lock);
	inode->i_blocks = blocks;
	spin_unlock(&inode->i_lock);
}

HELPER(void, inode_add_blocks)(struct inode *inode, u64 blocks)
{
	spin_lock(&inode->i_lock);
	inode->i_blocks += blocks;
	spin_unlock(&inode->i_lock);
}

HELPER(bool, inode_is_new)(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

HELPER(void, inode_set_ops)(struct inode *inode,
			    const struct inode_operations *i_op,
			    const struct file_operations *i_fop,
			    const struct address_space_operations *a_ops)
{
	inode->i_op = i_op;
	if (i_fop)
		inode->i_fop = i_fop;
	if (a_ops)
		inode->i_mapping->a_ops = a_ops;
}

/* Dentries. */

HELPER(struct dentry *, dget)(struct dentry *dentry)
{
	return dget(dentry);
}

HELPER(const u8 *, dentry_name)(const struct dentry *dentry, u32 *len)
{
	*len = dentry->d_name.len;
	return dentry->d_name.name;
}

HELPER(struct dentry *, file_dentry)(const struct file *file)
{
	return file->f_path.dentry;
}

/* What dax_break_layout() waits for, without its locks: a page with no pin. */

HELPER(int, dax_wait_idle)(struct page *page)
{
	return ___wait_var_event(page, dax_page_is_idle(page),
				 TASK_INTERRUPTIBLE, 0, 0, schedule());
}

HELPER(void, remove_inode_hash)(struct inode *inode)
{
	remove_inode_hash(inode);
}

/*
 * Unhashes a positive dentry to which there are `refs` references and no other
 * name of its inode.  Whoever has no reference cannot get one then: a lookup
 * without locks sees d_seq change, every other waits for the directory's lock,
 * which the caller holds.
 */
HELPER(bool, d_drop_sole)(struct dentry *dentry, int refs)
{
	struct inode *inode = dentry->d_inode;
	bool sole;

	spin_lock(&inode->i_lock);
	spin_lock(&dentry->d_lock);
	sole = dentry->d_lockref.count == refs && !d_unhashed(dentry) &&
	       hlist_is_singular_node(&dentry->d_alias, &inode->i_dentry);
	if (sole)
		__d_drop(dentry);
	spin_unlock(&dentry->d_lock);
	spin_unlock(&inode->i_lock);
	return sole;
}

HELPER(bool, d_has_children)(const struct dentry *dentry)
{
	return !hlist_empty(&dentry->d_children);
}

/*
 * A file_system_type that does not lie in static memory: lockdep wants to be
 * told of the keys in it, before the first lock of a class and after the last.
 */

HELPER(void, register_filesystem_keys)(struct file_system_type *type)
{
	lockdep_register_key(&type->s_lock_key);
	lockdep_register_key(&type->s_umount_key);
	lockdep_register_key(&type->s_vfs_rename_key);
	for (int level = 0; level < SB_FREEZE_LEVELS; level++)
		lockdep_register_key(&type->s_writers_key[level]);
	lockdep_register_key(&type->i_lock_key);
	lockdep_register_key(&type->i_mutex_key);
	lockdep_register_key(&type->invalidate_lock_key);
	lockdep_register_key(&type->i_mutex_dir_key);
}

HELPER(void, unregister_filesystem_keys)(struct file_system_type *type)
{
	lockdep_unregister_key(&type->s_lock_key);
	lockdep_unregister_key(&type->s_umount_key);
	lockdep_unregister_key(&type->s_vfs_rename_key);
	for (int level = 0; level < SB_FREEZE_LEVELS; level++)
		lockdep_unregister_key(&type->s_writers_key[level]);
	lockdep_unregister_key(&type->i_lock_key);
	lockdep_unregister_key(&type->i_mutex_key);
	lockdep_unregister_key(&type->invalidate_lock_key);
	lockdep_unregister_key(&type->i_mutex_dir_key);
}
