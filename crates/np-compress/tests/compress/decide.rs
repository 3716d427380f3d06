//! What a sender compresses and what it leaves, at each edge.

use np_compress::{Adaptive, Compressor, Encoder, MAX_BODY, Packed, PlainReason, Settings};

use crate::input::{ENCODERS, eager, noise, packed, text};

fn compressor(settings: Settings) -> Compressor {
    Compressor::new(settings).expect("settings in their ranges")
}

fn reason(packed: &Packed) -> Option<PlainReason> {
    match packed {
        Packed::Plain(reason) => Some(*reason),
        Packed::Compressed { .. } => None,
    }
}

#[test]
fn a_compressor_refuses_settings_out_of_their_range() {
    let error = Compressor::new(Settings { encoder: Encoder::Zstd { level: 20 }, ..Settings::default() });
    assert_eq!(error.err().map(|error| error.setting), Some("level"));
}

#[test]
fn a_body_at_the_threshold_is_compressed_and_one_byte_less_is_not() {
    for encoder in ENCODERS {
        for threshold in [512, 2_000] {
            let mut compressor = compressor(Settings { encoder, threshold, ..Settings::default() });
            let body = vec![b'a'; threshold as usize];
            let below = compressor.compress(&body[1..], &mut Adaptive::new());
            assert_eq!(reason(&below), Some(PlainReason::TooSmall));
            assert_eq!(reason(&compressor.compress(&body, &mut Adaptive::new())), None, "{encoder:?} {threshold}");
        }
    }
}

#[test]
fn a_body_beyond_a_gibibyte_is_left_as_it_is() {
    // Nothing touches these pages: the method's next body is to be skipped.
    let body = vec![0; MAX_BODY as usize + 1];
    let mut compressor = compressor(Settings::default());
    let mut method = Adaptive::new();
    method.record(false);
    assert_eq!(reason(&compressor.compress(&body, &mut method)), Some(PlainReason::TooLarge));
    assert_eq!(reason(&compressor.compress(&body[1..], &mut method)), Some(PlainReason::Skipped));
}

#[test]
fn a_body_must_shrink_by_a_sixteenth() {
    // Noise with more and more zeros behind it: the first that is sent has won enough, the one before has not.
    for encoder in ENCODERS {
        let mut compressor = eager(encoder);
        let mut plain = 0;
        for zeros in 0..400 {
            let body = [noise(3_000, 5), vec![0; zeros]].concat();
            match compressor.compress(&body, &mut Adaptive::new()) {
                Packed::Plain(reason) => {
                    assert_eq!(reason, PlainReason::NoGain);
                    plain = zeros;
                }
                Packed::Compressed { bytes, .. } => {
                    assert!(bytes.len() <= body.len() - body.len().div_ceil(16), "{encoder:?} {zeros}");
                    assert!(bytes.len() + 20 >= body.len() - body.len().div_ceil(16), "{encoder:?} {zeros}");
                    assert_eq!(plain + 1, zeros);
                    break;
                }
            }
        }
        assert!((188..300).contains(&plain), "{encoder:?} {plain}");
    }
}

#[test]
fn a_ratio_at_the_cap_is_sent_and_one_byte_more_travels_plain() {
    let encoder = Encoder::Zstd { level: 3 };
    let mut capped = compressor(Settings { encoder, ..Settings::default() });
    let exact =
        (8..64).map(|length| vec![0; 256 * length]).find(|body| packed(encoder, body).len() * 256 == body.len());
    let exact = exact.expect("a length at which the ratio is exact");
    let more = [&exact[..], &[0]].concat();
    assert_eq!(packed(encoder, &more).len() * 256, exact.len(), "one byte more is beyond the cap");
    assert_eq!(reason(&capped.compress(&exact, &mut Adaptive::new())), None);
    assert_eq!(reason(&capped.compress(&more, &mut Adaptive::new())), Some(PlainReason::Ratio));
}

#[test]
fn of_a_thousand_random_bodies_at_most_22_are_tried() {
    for encoder in ENCODERS {
        let mut compressor = compressor(Settings { encoder, ..Settings::default() });
        let mut method = Adaptive::new();
        let reasons = (0..1_000).map(|seed| reason(&compressor.compress(&noise(1_024, seed), &mut method)));
        let tried = reasons.filter(|reason| *reason != Some(PlainReason::Skipped)).count();
        assert!((14..=22).contains(&tried), "{encoder:?} tried {tried}");
    }
}

#[test]
fn a_method_recovers_when_its_bodies_shrink_again() {
    let mut compressor = compressor(Settings::default());
    let mut method = Adaptive::new();
    for seed in 0..4 {
        compressor.compress(&noise(1_024, seed), &mut method);
    }
    let body = text(1_024, 1);
    let until = (0..10).take_while(|_| reason(&compressor.compress(&body, &mut method)).is_some()).count();
    assert_eq!(until, 1, "two failures had cost 1 and 2 bodies, and two of those had passed");
    assert_eq!(method, Adaptive::new());
}

#[test]
fn without_adaptive_every_body_is_tried_and_nothing_is_remembered() {
    let mut compressor = compressor(Settings { adaptive: false, ..Settings::default() });
    let mut method = Adaptive::new();
    for seed in 0..10 {
        let packed = compressor.compress(&noise(1_024, seed), &mut method);
        assert_eq!(reason(&packed), Some(PlainReason::NoGain));
    }
    assert_eq!(method, Adaptive::new());
}

#[test]
fn a_large_body_is_judged_by_its_start_its_middle_and_its_end() {
    const LARGE: usize = 256 << 10;
    let spoilt = |length: usize, spots: &[usize]| {
        let mut body = text(length, 2);
        for start in spots {
            body[*start..start + 4_096].copy_from_slice(&noise(4_096, *start as u64 + 1));
        }
        body
    };
    let spots = |length| [0, length / 2, length - 4_096];
    for encoder in ENCODERS {
        let mut adaptive = compressor(Settings { encoder, ..Settings::default() });
        let mut method = Adaptive::new();
        let body = spoilt(LARGE, &spots(LARGE));
        assert_eq!(reason(&adaptive.compress(&body, &mut method)), Some(PlainReason::Sample));
        assert_eq!(method.skips(), 1, "the sample counts as a try");
        assert_eq!(reason(&eager(encoder).compress(&body, &mut method)), None, "without a sample it shrinks");
        let shorter = spoilt(LARGE - 1, &spots(LARGE - 1));
        assert_eq!(reason(&adaptive.compress(&shorter, &mut Adaptive::new())), None, "a shorter one has no sample");
        for fine in 0..3 {
            let two: Vec<usize> =
                spots(LARGE).into_iter().enumerate().filter(|(at, _)| *at != fine).map(|s| s.1).collect();
            let packed = adaptive.compress(&spoilt(LARGE, &two), &mut Adaptive::new());
            assert_eq!(reason(&packed), None, "slice {fine} is looked at");
        }
    }
}
