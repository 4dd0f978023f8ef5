// SPDX-License-Identifier: GPL-2.0

//! The media of the model: what a fence promises and what a crash may leave.

use protocol::media::{By, Content, Line, Media, Persist, Place};

/// Everything that a crash may leave of `line`.
fn left(line: &Line<u8>) -> Vec<Content<u8>> {
    (0..line.outcomes())
        .map(|n| {
            let mut line = line.clone();
            line.settle(n);
            line.read()
        })
        .collect()
}

#[test]
fn an_unfenced_store_may_be_old_torn_or_new() {
    let mut line = Line::new(1);
    line.store(2, By::Cpu(0));
    assert_eq!(line.read(), Content::Whole(2));
    let all = [Content::Whole(1), Content::Torn, Content::Whole(2)];
    assert_eq!(left(&line), all);
}

#[test]
fn a_fence_is_for_what_its_own_cpu_wrote_back() {
    let mut line = Line::new(1);
    line.store(2, By::Cpu(0));
    line.fence(By::Cpu(1));
    line.fence(By::Keeper);
    assert_eq!(line.outcomes(), 3);
    line.fence(By::Cpu(0));
    assert_eq!(left(&line), [Content::Whole(2)]);
}

#[test]
fn a_store_never_written_back_is_never_fenced() {
    let mut line = Line::new(1);
    line.store(2, By::Nobody);
    for by in [By::Cpu(0), By::Cpu(1), By::Keeper] {
        line.fence(by);
    }
    assert_eq!(line.outcomes(), 3);
}

#[test]
fn a_write_back_covers_the_earlier_stores_to_its_line() {
    let mut line = Line::new(1);
    line.store(2, By::Nobody);
    line.store(3, By::Cpu(0));
    line.store(4, By::Cpu(1));
    line.fence(By::Cpu(0));
    let all = [Content::Whole(3), Content::Torn, Content::Whole(4)];
    assert_eq!(left(&line), all);
}

#[test]
fn lines_fail_independently() {
    let mut media = Media::new();
    media.block.store(7, By::Cpu(0));
    media.homes[2].store(Place::Data(8), By::Cpu(0));
    assert_eq!(media.outcomes(), 9);
    let mut seen = Vec::new();
    for n in 0..9 {
        let mut media = media.clone();
        media.settle(n, &mut |_, _| {});
        assert_eq!(media.outcomes(), 1);
        seen.push((media.block.read(), media.homes[2].read()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 9);
}
