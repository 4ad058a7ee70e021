//! From a model's log-odds to a probability that can be trusted: Platt's two numbers, fitted on cases
//! of which the truth is known.

/// What fits a model's log-odds to the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub slope: f64,
    pub offset: f64,
    /// Mean squared error of the probabilities before (slope 1, offset 0) and after.
    pub brier_before: f64,
    pub brier_after: f64,
    /// Chance that a malicious case has higher log-odds than a benign one: 0.5 is guessing.
    pub auc: f64,
}

/// Steps of Newton's method; a handful is enough.
const STEPS: usize = 100;
/// Keeps numbers finite where the cases are told apart without error.
const RIDGE: f64 = 1e-3;

/// Fits `cases`, log-odds and whether it is malicious. `None` if one class is missing or a number is not finite.
pub fn fit(cases: &[(f64, bool)]) -> Option<Fit> {
    let malicious = cases.iter().filter(|(_, truth)| *truth).count();
    let benign = cases.len() - malicious;
    if malicious == 0 || benign == 0 || cases.iter().any(|(odds, _)| !odds.is_finite()) {
        return None;
    }
    // Targets a little inside 0 and 1, as Platt has them, so that few cases do not make it too sure.
    let (high, low) = ((malicious as f64 + 1.0) / (malicious as f64 + 2.0), 1.0 / (benign as f64 + 2.0));
    let (mut slope, mut offset) = (1.0, 0.0);
    for _ in 0..STEPS {
        let (mut g_slope, mut g_offset) = (RIDGE * (slope - 1.0), RIDGE * offset);
        let (mut h_ss, mut h_so, mut h_oo) = (RIDGE, 0.0, RIDGE);
        for &(odds, truth) in cases {
            let p = probability(odds, slope, offset);
            let error = p - if truth { high } else { low };
            let weight = (p * (1.0 - p)).max(1e-9);
            g_slope += error * odds;
            g_offset += error;
            h_ss += weight * odds * odds;
            h_so += weight * odds;
            h_oo += weight;
        }
        let determinant = h_ss * h_oo - h_so * h_so;
        if determinant.abs() < 1e-12 {
            break;
        }
        let (step_slope, step_offset) =
            ((h_oo * g_slope - h_so * g_offset) / determinant, (h_ss * g_offset - h_so * g_slope) / determinant);
        // Far from the answer a full step may overshoot.
        slope -= step_slope.clamp(-1.0, 1.0);
        offset -= step_offset.clamp(-2.0, 2.0);
        if step_slope.abs() + step_offset.abs() < 1e-9 {
            break;
        }
    }
    Some(Fit {
        slope,
        offset,
        brier_before: brier(cases, 1.0, 0.0),
        brier_after: brier(cases, slope, offset),
        auc: auc(cases),
    })
}

fn probability(odds: f64, slope: f64, offset: f64) -> f64 {
    1.0 / (1.0 + (-(slope * odds + offset)).exp())
}

fn brier(cases: &[(f64, bool)], slope: f64, offset: f64) -> f64 {
    let square =
        |(odds, truth): &(f64, bool)| (probability(*odds, slope, offset) - f64::from(u8::from(*truth))).powi(2);
    cases.iter().map(square).sum::<f64>() / cases.len() as f64
}

fn auc(cases: &[(f64, bool)]) -> f64 {
    let of = |wanted: bool| cases.iter().filter(move |(_, truth)| *truth == wanted).map(|(odds, _)| *odds);
    let mut wins = 0.0;
    for malicious in of(true) {
        for benign in of(false) {
            wins += if malicious > benign {
                1.0
            } else if malicious == benign {
                0.5
            } else {
                0.0
            };
        }
    }
    wins / (of(true).count() * of(false).count()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases whose truth follows `slope` and `offset`, as evenly as a sample can.
    fn cases(slope: f64, offset: f64) -> Vec<(f64, bool)> {
        let mut cases = vec![];
        for step in -20..=20 {
            let odds = f64::from(step) / 4.0;
            let malicious = (probability(odds, slope, offset) * 40.0).round() as usize;
            cases.extend((0..40).map(|at| (odds, at < malicious)));
        }
        cases
    }

    #[test]
    fn a_fit_finds_what_the_cases_follow() {
        for (slope, offset) in [(1.0, 0.0), (0.4, 1.2), (2.0, -3.0)] {
            let fit = fit(&cases(slope, offset)).unwrap();
            assert!(
                (fit.slope - slope).abs() < 0.1 && (fit.offset - offset).abs() < 0.2,
                "{fit:?} for {slope} {offset}"
            );
            assert!(fit.brier_after <= fit.brier_before + 1e-4, "{fit:?}");
        }
    }

    #[test]
    fn who_is_always_right_stays_finite_and_who_guesses_is_told() {
        let right = fit(&[(-3.0, false), (-2.0, false), (2.0, true), (3.0, true)]).unwrap();
        assert!(right.slope.is_finite() && right.slope > 0.0 && right.auc == 1.0, "{right:?}");
        let guess = fit(&[(1.0, false), (1.0, true), (-1.0, false), (-1.0, true)]).unwrap();
        assert!((guess.auc - 0.5).abs() < 1e-9 && guess.slope.abs() < 0.2, "{guess:?}");
        assert_eq!(fit(&[(1.0, true)]), None);
        assert_eq!(fit(&[(f64::NAN, true), (0.0, false)]), None);
    }
}
