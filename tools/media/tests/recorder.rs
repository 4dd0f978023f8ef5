// SPDX-License-Identifier: GPL-2.0

//! The recorder itself: if it left crash states out, every test on it would be weaker than it
//! says.

use format::Addr;
use media::{Image, Media, Recorder};
use std::cell::RefCell;
use std::collections::BTreeSet;

const SIZE: u64 = 1 << 20;

fn write(media: &dyn Media, at: u64, bytes: &[u8]) {
    media.write(Addr::new(at), bytes).unwrap();
}

#[test]
fn all_subsets_of_few_lines_and_no_others() {
    for lines in 0..=8u64 {
        let recorder = Recorder::new(Image::new(SIZE));
        for line in 0..lines {
            write(&recorder, line * 4096 + 64, &[line as u8 + 1; 64]);
        }
        let moment = recorder.moment();
        assert_eq!(moment.pending_lines() as u64, lines);
        assert_eq!(moment.pending_words() as u64, lines * 8);
        let all = 1usize << lines;
        let mut seen = BTreeSet::new();
        for state in moment.crash_states(all, 0) {
            let mut subset = 0u32;
            for line in 0..lines {
                let bytes = state.image.bytes(line * 4096 + 64, 64);
                if bytes == [line as u8 + 1; 64] {
                    subset |= 1 << line;
                } else {
                    assert_eq!(bytes, [0; 64], "a line is there or not");
                }
            }
            assert!(seen.insert(subset), "subset {subset:b} twice");
        }
        assert_eq!(seen.len(), all);
    }
}

#[test]
fn a_fence_leaves_nothing_pending() {
    let recorder = Recorder::new(Image::new(SIZE));
    write(
        &recorder,
        100,
        b"some bytes over a line's end ...................",
    );
    assert_eq!(recorder.moment().pending_lines(), 2);
    assert_eq!(recorder.lines_written(), 2);
    assert_eq!(recorder.moment().durable(), &Image::new(SIZE));
    recorder.fence();
    let moment = recorder.moment();
    assert_eq!(
        (moment.pending_lines(), moment.fence(), recorder.fences()),
        (0, 1, 1)
    );
    assert_eq!(moment.durable(), &recorder.image());
    let states: Vec<_> = moment.crash_states(1000, 7).collect();
    assert_eq!(states.len(), 1, "there is one state when nothing pends");
    assert_eq!(states[0].image, recorder.image());
}

#[test]
fn torn_states_mix_the_values_of_words_and_nothing_else() {
    let recorder = Recorder::new(Image::new(SIZE));
    write(&recorder, 0, &[1; 16]);
    write(&recorder, 4, &[2; 8]);
    write(&recorder, 8, &[3; 4]);
    // Word 0: 0, then 1*8, then 1111 2222. Word 1: 0, 1*8, 2222 1111, 3333 1111.
    let words = |i| -> Vec<Vec<u8>> {
        match i {
            0 => vec![vec![0; 8], vec![1; 8], vec![1, 1, 1, 1, 2, 2, 2, 2]],
            _ => vec![
                vec![0; 8],
                vec![1; 8],
                vec![2, 2, 2, 2, 1, 1, 1, 1],
                vec![3, 3, 3, 3, 1, 1, 1, 1],
            ],
        }
    };
    let mut seen = BTreeSet::new();
    for state in recorder.moment().crash_states(400, 9) {
        let (a, b) = (state.image.bytes(0, 8), state.image.bytes(8, 8));
        let a = words(0)
            .iter()
            .position(|w| *w == a)
            .expect("a value of word 0");
        let b = words(1)
            .iter()
            .position(|w| *w == b)
            .expect("a value of word 1");
        assert_eq!(state.image.bytes(16, 48), [0; 48]);
        seen.insert((a, b));
    }
    assert_eq!(seen.len(), 12, "every mixture was drawn");
}

#[test]
fn many_lines_are_drawn_by_the_seed_and_extremes_always() {
    let recorder = Recorder::new(Image::new(SIZE));
    for line in 0..40u64 {
        write(&recorder, line * 64, &[0xff; 64]);
    }
    let moment = recorder.moment();
    let draw = |seed| -> Vec<String> {
        moment
            .crash_states(200, seed)
            .map(|s| format!("{:?}", s.image.bytes(0, 2560)))
            .collect()
    };
    let one = draw(1);
    assert_eq!(one.len(), 200);
    assert_eq!(one, draw(1), "the same seed, the same states");
    assert_ne!(one, draw(2));
    let states: Vec<_> = moment.crash_states(200, 1).map(|s| s.image).collect();
    assert_eq!(&states[0], moment.durable());
    assert_eq!(states[1], moment.complete());
    let whole = |image: &Image| {
        (0..40)
            .filter(|l| image.bytes(l * 64, 64) == [0xff; 64])
            .count()
    };
    assert!(states[2..42].iter().all(|image| whole(image) == 1));
    assert!(states[42..82].iter().all(|image| whole(image) == 39));
    let distinct: BTreeSet<_> = one.iter().collect();
    assert!(distinct.len() > 195);
}

#[test]
fn the_callback_sees_what_pends_before_each_fence() {
    let seen = RefCell::new(Vec::new());
    let recorder = Recorder::new(Image::new(SIZE));
    recorder.at_fence(|moment| {
        seen.borrow_mut()
            .push((moment.fence(), moment.pending_lines()));
    });
    write(&recorder, 0, &[1; 65]);
    recorder.fence();
    recorder.fence();
    write(&recorder, 128, &[1]);
    recorder.fence();
    assert_eq!(*seen.borrow(), [(0, 2), (1, 0), (2, 1)]);
    recorder.no_callback();
    recorder.fence();
    assert_eq!(seen.borrow().len(), 3);
}

#[test]
fn the_cpu_sees_its_own_stores_and_the_end_is_an_end() {
    let recorder = Recorder::new(Image::new(SIZE));
    write(&recorder, 10, b"now");
    let mut back = [0; 3];
    recorder.read(Addr::new(10), &mut back).unwrap();
    assert_eq!(&back, b"now");
    assert!(recorder.write(Addr::new(SIZE - 1), b"xy").is_err());
    assert!(recorder.write(Addr::new(u64::MAX), b"xy").is_err());
    assert!(recorder.read(Addr::new(SIZE), &mut back).is_err());
    write(&recorder, SIZE, b"");
    assert_eq!(recorder.moment().pending_lines(), 1);
}

#[test]
fn a_state_of_a_full_device_is_cheap() {
    let mut image = Image::new(16 << 20);
    for page in 0..4096u64 {
        image.write(page * 4096, &page.to_le_bytes());
    }
    let recorder = Recorder::new(image);
    for line in 0..30u64 {
        write(&recorder, line * 100_000, &[9; 64]);
    }
    let begin = std::time::Instant::now();
    assert_eq!(recorder.moment().crash_states(5000, 1).count(), 5000);
    let each = begin.elapsed() / 5000;
    println!("{each:?} a state");
    assert!(each.as_micros() < 2000, "{each:?} a state");
}
