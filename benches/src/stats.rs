//! Order statistics: what is reported of many measurements.

/// The value below which `share` (0 to 1) of the samples lie.
///
/// # Panics
///
/// Without samples.
#[must_use]
pub fn quantile(samples: &mut [f64], share: f64) -> f64 {
    assert!(!samples.is_empty(), "a quantile of nothing");
    samples.sort_by(f64::total_cmp);
    let last = samples.len() - 1;
    // A rank is far below 2^52.
    let rank = (share * last as f64).round() as usize;
    samples[rank.min(last)]
}

/// The middle sample.
///
/// # Panics
///
/// Without samples.
#[must_use]
pub fn median(samples: &mut [f64]) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_at_their_rank() {
        let mut samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(median(&mut samples), 50.0);
        assert_eq!(quantile(&mut samples, 0.99), 99.0);
        assert_eq!(quantile(&mut samples, 0.0), 0.0);
        assert_eq!(quantile(&mut samples, 1.0), 100.0);
        assert_eq!(median(&mut [3.0]), 3.0);
    }
}
