// SPDX-License-Identifier: GPL-2.0

//! Sorting in place, without memory, without recursion and without a way to panic: heapsort. It
//! is not stable; keys here are whole, so that it makes no difference.

/// Sorts by `key`.
pub(crate) fn by_key<T: Copy, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    let len = list.len();
    // What was walked in order is in order.
    let sorted = list
        .iter()
        .zip(list.iter().skip(1))
        .all(|(a, b)| key(a) <= key(b));
    if sorted {
        return;
    }
    let mut begin = len / 2;
    while let Some(at) = begin.checked_sub(1) {
        begin = at;
        sink(list, at, len, &key);
    }
    let mut end = len;
    while let Some(last) = end.checked_sub(1) {
        end = last;
        exchange(list, 0, last);
        sink(list, 0, last, &key);
    }
}

/// Lets the element at `at` sink to its place in the heap `list[..end]`.
fn sink<T: Copy, K: Ord>(list: &mut [T], at: usize, end: usize, key: &impl Fn(&T) -> K) {
    let mut at = at;
    loop {
        let left = at.saturating_mul(2).saturating_add(1);
        if left >= end {
            return;
        }
        let right = left.saturating_add(1);
        let mut largest = left;
        if let (Some(l), Some(r)) = (list.get(left), list.get(right)) {
            if right < end && key(r) > key(l) {
                largest = right;
            }
        }
        match (list.get(at), list.get(largest)) {
            (Some(above), Some(below)) if key(below) > key(above) => {}
            _ => return,
        }
        exchange(list, at, largest);
        at = largest;
    }
}

fn exchange<T: Copy>(list: &mut [T], a: usize, b: usize) {
    if let (Some(x), Some(y)) = (list.get(a).copied(), list.get(b).copied()) {
        if let Some(slot) = list.get_mut(a) {
            *slot = y;
        }
        if let Some(slot) = list.get_mut(b) {
            *slot = x;
        }
    }
}

/// Where the first element that is not `before` stands, in a list that has those that are first.
/// (The library's own counts with checked arithmetic, which would bring a panic into the kernel
/// object.)
pub(crate) fn partition<T>(list: &[T], before: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        match list.get(middle) {
            Some(item) if before(item) => low = middle.saturating_add(1),
            _ => high = middle,
        }
    }
    low
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may fail"
)]
mod tests {
    #[test]
    fn any_order_becomes_order() {
        let mut n = 1u64;
        for len in 0..200usize {
            let mut list = [0u64; 200];
            let list = &mut list[..len];
            for slot in list.iter_mut() {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *slot = n >> 59;
            }
            let sum: u64 = list.iter().sum();
            super::by_key(list, |n| *n);
            assert!(list.windows(2).all(|pair| pair[0] <= pair[1]), "{list:?}");
            assert_eq!(sum, list.iter().sum());
        }
    }
}
