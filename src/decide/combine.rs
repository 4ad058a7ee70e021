//! How the rules' score, models' opinions, memory and reputation become one decision: one pure
//! function, so that what a model may do is bounded here and nowhere else.
//!
//! | what | moves the score by |
//! |---|---|
//! | the last opinion, of confidence 8 to 10 | 3 |
//! | … of 6 or 7 | 2 |
//! | … of 4 or 5 (at least `thresholds.monitor`) | 1 |
//! | … below, or uncertain, or no opinion | 0 |
//! | a repeat offender, or a bad reputation, when the opinion is malicious | 1 more |
//!
//! A malicious opinion moves up, a benign one down. Bounds, whatever a model says:
//! - a score of at least `thresholds.certain` stays as it is;
//! - below `thresholds.act` an opinion moves no score across `thresholds.block`, in either direction;
//! - a finding that addresses a model is never moved down;
//! - what is no finding (below `thresholds.flag`) is never moved.

use super::Thresholds;
use crate::event::{Action, VerdictClass};

/// What a tier thinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    pub class: VerdictClass,
    /// 1–10, of the class.
    pub confidence: u8,
}

/// What a decision is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grounds {
    /// 1–10, by rules and windows.
    pub score: u8,
    /// The text tries to speak to a model: no model may excuse it.
    pub addresses_model: bool,
    /// The last tier's that had one.
    pub opinion: Option<Opinion>,
    /// Memory's risk of the client is high.
    pub offender: bool,
    /// A reputation service knows the address for abuse.
    pub ill_reputed: bool,
}

/// The combined score and what is to happen, before the gate.
pub fn combine(grounds: &Grounds, thresholds: &Thresholds) -> (u8, Action) {
    let Grounds { score, addresses_model, opinion, offender, ill_reputed } = *grounds;
    let combined = match opinion {
        Some(opinion) if score >= thresholds.flag && score < thresholds.certain => {
            let step = match opinion.confidence {
                confidence if confidence < thresholds.monitor => 0,
                8.. => 3,
                6..8 => 2,
                _ => 1,
            };
            let acts = opinion.confidence >= thresholds.act;
            match opinion.class {
                VerdictClass::Malicious => {
                    let moved = (score + step).min(10);
                    let stays = !acts && score < thresholds.block;
                    let moved = if stays { moved.min(thresholds.block - 1) } else { moved };
                    (moved + u8::from(step > 0 && (offender || ill_reputed))).min(10)
                }
                VerdictClass::Benign if addresses_model => score,
                VerdictClass::Benign => {
                    let moved = score.saturating_sub(step).max(1);
                    if acts || score < thresholds.block { moved } else { moved.max(thresholds.block) }
                }
                VerdictClass::Uncertain => score,
            }
        }
        _ => score,
    };
    let action = match combined {
        _ if score < thresholds.flag => Action::None,
        combined if combined >= thresholds.block => Action::Block,
        _ => Action::Monitor,
    };
    (combined, action)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use VerdictClass::{Benign, Malicious, Uncertain};

    fn grounds(score: u8, opinion: Option<(VerdictClass, u8)>) -> Grounds {
        let opinion = opinion.map(|(class, confidence)| Opinion { class, confidence });
        Grounds { score, addresses_model: false, opinion, offender: false, ill_reputed: false }
    }

    #[test]
    fn opinions_move_scores_inside_their_bounds() {
        let thresholds = Thresholds::default();
        for (score, opinion, expected) in [
            // No opinion: rules alone.
            (5, None, (5, Action::Monitor)),
            (8, None, (8, Action::Block)),
            // What is acted on.
            (5, Some((Malicious, 8)), (8, Action::Block)),
            (7, Some((Malicious, 10)), (10, Action::Block)),
            (8, Some((Benign, 8)), (5, Action::Monitor)),
            (6, Some((Benign, 10)), (3, Action::Monitor)),
            // What is only watched stays on its side of a block.
            (7, Some((Malicious, 7)), (7, Action::Monitor)),
            (5, Some((Malicious, 6)), (7, Action::Monitor)),
            (8, Some((Benign, 7)), (8, Action::Block)),
            (7, Some((Benign, 5)), (6, Action::Monitor)),
            (8, Some((Malicious, 4)), (9, Action::Block)),
            // Too unsure, or undecided.
            (7, Some((Malicious, 3)), (7, Action::Monitor)),
            (8, Some((Uncertain, 10)), (8, Action::Block)),
            // Certain hits and what is no finding.
            (9, Some((Benign, 10)), (9, Action::Block)),
            (10, Some((Benign, 10)), (10, Action::Block)),
            (4, Some((Malicious, 10)), (4, Action::None)),
        ] {
            assert_eq!(combine(&grounds(score, opinion), &thresholds), expected, "{score} {opinion:?}");
        }
    }

    #[test]
    fn memory_and_reputation_count_once_and_never_alone() {
        let thresholds = Thresholds::default();
        let known = |score, opinion| Grounds { offender: true, ill_reputed: true, ..grounds(score, opinion) };
        for (score, opinion, expected) in [
            (7, None, (7, Action::Monitor)),
            (7, Some((Uncertain, 9)), (7, Action::Monitor)),
            (7, Some((Benign, 5)), (6, Action::Monitor)),
            (7, Some((Malicious, 3)), (7, Action::Monitor)),
            (7, Some((Malicious, 5)), (8, Action::Block)),
            (5, Some((Malicious, 5)), (7, Action::Monitor)),
            (5, Some((Malicious, 8)), (9, Action::Block)),
        ] {
            assert_eq!(combine(&known(score, opinion), &thresholds), expected, "{score} {opinion:?}");
        }
    }

    #[test]
    fn what_speaks_to_a_model_is_excused_by_none() {
        let spoken = Grounds { addresses_model: true, ..grounds(8, Some((Benign, 10))) };
        assert_eq!(combine(&spoken, &Thresholds::default()), (8, Action::Block));
    }

    proptest! {
        #[test]
        fn no_answer_of_a_model_moves_a_decision_beyond_its_bounds(
            score in 0u8..=10,
            class in prop::sample::select(vec![Malicious, Benign, Uncertain]),
            confidence in 0u8..=255,
            flags in any::<[bool; 3]>(),
            limits in prop::collection::vec(1u8..=10, 3),
            (monitor, act) in (1u8..=10, 1u8..=10),
        ) {
            let mut limits = limits;
            limits.sort_unstable();
            let thresholds = Thresholds {
                flag: limits[0], block: limits[1], certain: limits[2],
                monitor: monitor.min(act), act: monitor.max(act), ..Thresholds::default()
            };
            let [addresses_model, offender, ill_reputed] = flags;
            let opinion = Some(Opinion { class, confidence });
            let grounds = Grounds { score, addresses_model, opinion, offender, ill_reputed };
            let (combined, action) = combine(&grounds, &thresholds);
            let (alone, alone_action) = combine(&Grounds { opinion: None, ..grounds }, &thresholds);
            prop_assert_eq!(alone, score);
            prop_assert!(combined <= 10 && combined.abs_diff(score) <= 4);
            if score >= thresholds.certain {
                prop_assert_eq!((combined, action), (alone, alone_action));
            }
            if score < thresholds.flag {
                prop_assert_eq!((combined, action), (score, Action::None));
            }
            if class == Malicious {
                prop_assert!(combined >= score && action >= alone_action);
            } else {
                prop_assert!(combined <= score && action <= alone_action);
            }
            if addresses_model {
                prop_assert!(combined >= score);
            }
        }
    }
}
