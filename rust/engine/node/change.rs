// SPDX-License-Identifier: GPL-2.0

//! Changes of one node.
//!
//! Each function needs what its documentation names to be true beforehand and then cannot fail;
//! `None` means that it was not, or that the node is not one that `verify` would pass. Whoever
//! calls has looked before, so `None` is told as corruption.
//!
//! The order of a leaf's heap is the order in which values came. What lies at its lowest end is
//! given back to the gap at once, anything else becomes garbage until [`compact`].

use super::{put, raw16, Key, Node, AT_COUNT, AT_GARBAGE, AT_HEAP};
use crate::frames::Edit;
use format::node::{Kind, HEADER};
use format::units::{BLOCK_BYTES, LINE_BYTES};
use format::Block;

/// Bytes of a value that is written whole though not all of it may differ.
const SMALL: usize = 3 * LINE_BYTES;

fn slot_at(at: usize, bytes: usize) -> usize {
    HEADER.saturating_add(at.saturating_mul(bytes))
}

fn write_key(edit: &mut Edit<'_>, kind: Kind, start: usize, key: &Key) -> Option<()> {
    let [first, second, third] = *key;
    edit.write(start, &first.to_le_bytes())?;
    if kind.key_words() > 1 {
        edit.write(start.checked_add(8)?, &second.to_le_bytes())?;
        edit.write(start.checked_add(16)?, &third.to_le_bytes())?;
    }
    Some(())
}

/// Opens slot `at`, moving what stands there and behind it; returns its offset.
fn open_slot(edit: &mut Edit<'_>, kind: Kind, at: usize) -> Option<usize> {
    let node = Node::new(edit.bytes(), kind);
    let (bytes, count, end) = (node.slot_bytes(), node.count(), node.slots_end());
    if at > count || node.gap() < bytes {
        return None;
    }
    let start = slot_at(at, bytes);
    edit.copy_within(start, end.checked_sub(start)?, start.checked_add(bytes)?)?;
    edit.write(AT_COUNT, &raw16(count.checked_add(1)?))?;
    Some(start)
}

/// Closes slot `at`.
fn close_slot(edit: &mut Edit<'_>, kind: Kind, at: usize) -> Option<()> {
    let node = Node::new(edit.bytes(), kind);
    let (bytes, count, end) = (node.slot_bytes(), node.count(), node.slots_end());
    let start = slot_at(at, bytes);
    let next = start.checked_add(bytes)?;
    edit.copy_within(next, end.checked_sub(next)?, start)?;
    edit.write(AT_COUNT, &raw16(count.checked_sub(1)?))
}

/// Puts a value into the heap; returns its offset. The gap must have room.
fn store(edit: &mut Edit<'_>, kind: Kind, value: &[u8]) -> Option<usize> {
    let node = Node::new(edit.bytes(), kind);
    if node.gap() < value.len() {
        return None;
    }
    let heap = node.heap().checked_sub(value.len())?;
    edit.write(heap, value)?;
    edit.write(AT_HEAP, &raw16(heap))?;
    Some(heap)
}

/// Lets go of the value of slot `at`; the slot points to nothing of the heap then.
fn release(edit: &mut Edit<'_>, kind: Kind, at: usize) -> Option<()> {
    let node = Node::new(edit.bytes(), kind);
    let (start, len) = node.place(at)?;
    let (heap, garbage) = (node.heap(), node.garbage());
    if start == heap {
        edit.write(AT_HEAP, &raw16(heap.checked_add(len)?))
    } else {
        edit.write(AT_GARBAGE, &raw16(garbage.checked_add(len)?))
    }
}

/// Inserts an item before slot `at` of a leaf. The gap must hold a slot and the value.
pub fn insert_item(
    edit: &mut Edit<'_>,
    kind: Kind,
    at: usize,
    key: &Key,
    value: &[u8],
) -> Option<()> {
    let node = Node::new(edit.bytes(), kind);
    let (bytes, count, end) = (node.slot_bytes(), node.count(), node.slots_end());
    if node.gap() < bytes.checked_add(value.len())? || at > count {
        return None;
    }
    let heap = node.heap().checked_sub(value.len())?;
    let start = slot_at(at, bytes);
    if at < count {
        edit.copy_within(start, end.checked_sub(start)?, start.checked_add(bytes)?)?;
    }
    edit.write(heap, value)?;
    // The slot at once, and count and heap at once: this is the engine's most frequent change.
    let [first, second, third] = key.map(u64::to_le_bytes);
    let place = place_bytes(heap, value.len());
    if kind.key_words() > 1 {
        let mut slot = [0u8; 28];
        put(&mut slot, 0, &first)?;
        put(&mut slot, 8, &second)?;
        put(&mut slot, 16, &third)?;
        put(&mut slot, 24, &place)?;
        edit.write_array(start, &slot)?;
    } else {
        let mut slot = [0u8; 12];
        put(&mut slot, 0, &first)?;
        put(&mut slot, 8, &place)?;
        edit.write_array(start, &slot)?;
    }
    let [a, b] = raw16(count.checked_add(1)?);
    let [c, d] = raw16(heap);
    edit.write_array(AT_COUNT, &[a, b, c, d])
}

/// Offset and length of a value, as a slot has them.
fn place_bytes(place: usize, len: usize) -> [u8; 4] {
    // A value without bytes lies nowhere: let it not seem to lie below the heap one day.
    let [a, b] = raw16(if len == 0 { BLOCK_BYTES } else { place });
    let [c, d] = raw16(len);
    [a, b, c, d]
}

fn write_place(
    edit: &mut Edit<'_>,
    kind: Kind,
    start: usize,
    place: usize,
    len: usize,
) -> Option<()> {
    edit.write_changed(
        start.checked_add(kind.key_bytes())?,
        &place_bytes(place, len),
    )
}

/// Removes the item of slot `at` of a leaf.
pub fn remove_item(edit: &mut Edit<'_>, kind: Kind, at: usize) -> Option<()> {
    release(edit, kind, at)?;
    close_slot(edit, kind, at)
}

/// Whether a value of `len` bytes can take the place of that of slot `at` without [`compact`].
pub fn can_replace(node: &Node<'_>, at: usize, len: usize) -> bool {
    let Some((start, old)) = node.place(at) else {
        return false;
    };
    let given_back = if start == node.heap() { old } else { 0 };
    len <= old || node.gap().saturating_add(given_back) >= len
}

/// Stores a value over one of the same length, which lies at `place` of the node.
#[inline]
pub fn overwrite(edit: &mut Edit<'_>, place: usize, value: &[u8]) -> Option<()> {
    // To find out which of three or four lines differ costs more than they do.
    match value.len() {
        0..=SMALL => edit.write(place, value),
        _ => edit.write_changed(place, value),
    }
}

/// Gives slot `at` of a leaf another value. [`can_replace`] must be true.
pub fn replace_value(edit: &mut Edit<'_>, kind: Kind, at: usize, value: &[u8]) -> Option<()> {
    let node = Node::new(edit.bytes(), kind);
    let (place, old) = node.place(at)?;
    if !can_replace(&node, at, value.len()) {
        return None;
    }
    let start = slot_at(at, node.slot_bytes());
    if old == value.len() {
        return overwrite(edit, place, value);
    }
    if value.len() < old {
        // The upper part of the old bytes stays in use, so that at the lowest end of the heap the
        // lower part goes back to the gap.
        let kept = place.checked_add(old.checked_sub(value.len())?)?;
        let spare = old.checked_sub(value.len())?;
        let (heap, garbage) = (node.heap(), node.garbage());
        edit.write_changed(kept, value)?;
        if place == heap {
            edit.write(AT_HEAP, &raw16(kept))?;
        } else {
            edit.write(AT_GARBAGE, &raw16(garbage.checked_add(spare)?))?;
        }
        return write_place(edit, kind, start, kept, value.len());
    }
    release(edit, kind, at)?;
    let place = store(edit, kind, value)?;
    write_place(edit, kind, start, place, value.len())
}

/// Brings the values of a leaf together at its end, so that all that is free is in the gap.
/// `scratch` is overwritten.
pub fn compact(edit: &mut Edit<'_>, kind: Kind, scratch: &mut [u8; 4096]) -> Option<()> {
    *scratch = *edit.bytes();
    fill(edit, &Node::new(scratch, kind), 0)?;
    edit.write(AT_GARBAGE, &raw16(0))
}

/// Drops all items of a leaf, or slots of an interior node, from slot `len` on.
pub fn truncate(edit: &mut Edit<'_>, kind: Kind, len: usize) -> Option<()> {
    let node = Node::new(edit.bytes(), kind);
    let count = node.count();
    if node.level() == 0 {
        let (heap, garbage) = (node.heap(), node.garbage());
        let mut freed = 0usize;
        let mut lowest = BLOCK_BYTES;
        for at in 0..count {
            let (place, bytes) = node.place(at)?;
            if at < len {
                lowest = lowest.min(place);
            } else {
                freed = freed.checked_add(bytes)?;
            }
        }
        // Everything below the lowest value that stays goes back to the gap.
        let back = lowest.checked_sub(heap)?;
        let garbage = garbage.checked_add(freed)?.checked_sub(back)?;
        edit.write(AT_HEAP, &raw16(lowest))?;
        edit.write(AT_GARBAGE, &raw16(garbage))?;
    }
    edit.write(AT_COUNT, &raw16(len.min(count)))
}

/// Inserts a child before slot `at` of an interior node, which must have room.
pub fn insert_child(
    edit: &mut Edit<'_>,
    kind: Kind,
    at: usize,
    key: &Key,
    child: Block,
    max: u64,
) -> Option<()> {
    let start = open_slot(edit, kind, at)?;
    let behind = start.checked_add(kind.key_bytes())?;
    write_key(edit, kind, start, key)?;
    edit.write(behind, &child.raw().to_le_bytes())?;
    edit.write(behind.checked_add(8)?, &max.to_le_bytes())
}

/// Removes slot `at` of an interior node.
pub fn remove_child(edit: &mut Edit<'_>, kind: Kind, at: usize) -> Option<()> {
    close_slot(edit, kind, at)
}

/// Sets the key of slot `at` of an interior node.
pub fn set_key(edit: &mut Edit<'_>, kind: Kind, at: usize, key: &Key) -> Option<()> {
    let bytes = Node::new(edit.bytes(), kind).slot_bytes();
    write_key(edit, kind, slot_at(at, bytes), key)
}

/// Sets the largest end beneath slot `at` of an interior node.
pub fn set_max(edit: &mut Edit<'_>, kind: Kind, at: usize, max: u64) -> Option<()> {
    let bytes = Node::new(edit.bytes(), kind).slot_bytes();
    let start = slot_at(at, bytes).checked_add(kind.key_bytes())?;
    edit.write(start.checked_add(8)?, &max.to_le_bytes())
}

/// Appends all slots of `from` from slot `first` on to `edit`, a node of the same level, whose gap
/// must have room for them and whose keys are all smaller.
pub fn append(edit: &mut Edit<'_>, from: &Node<'_>, kind: Kind, first: usize) -> Option<()> {
    let mut to = Node::new(edit.bytes(), kind).count();
    for at in first..from.count() {
        let key = from.key(at)?;
        if from.level() == 0 {
            insert_item(edit, kind, to, &key, from.value(at)?)?;
        } else {
            insert_child(edit, kind, to, &key, from.child(at)?, from.max(at)?)?;
        }
        to = to.checked_add(1)?;
    }
    Some(())
}

/// Fills a fresh node with the slots of `from` from slot `first` on.
pub fn fill(edit: &mut Edit<'_>, from: &Node<'_>, first: usize) -> Option<()> {
    let count = from.count().checked_sub(first)?;
    let bytes = from.slot_bytes();
    let slots = from.page().get(slot_at(first, bytes)..from.slots_end())?;
    let page = edit.whole();
    put(page, HEADER, slots)?;
    if from.level() == 0 {
        let mut heap = BLOCK_BYTES;
        let mut place = HEADER.checked_add(bytes.checked_sub(4)?)?;
        for at in first..from.count() {
            let value = from.value(at)?;
            heap = heap.checked_sub(value.len())?;
            put(page, heap, value)?;
            put(page, place, &place_bytes(heap, value.len()))?;
            place = place.checked_add(bytes)?;
        }
        put(page, AT_HEAP, &raw16(heap))?;
    }
    put(page, AT_COUNT, &raw16(count))
}
