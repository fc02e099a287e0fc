//! Means with confidence intervals, over independent runs.

/// A mean and how far off it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % interval; not a number for fewer than two values.
    pub half: f64,
    /// Its standard error.
    pub error: f64,
}

impl Interval {
    /// The mean of independent values and its interval, by Student's law.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        Self { mean, half: student_975(values.len().saturating_sub(1)) * error, error }
    }

    /// Both ends.
    pub fn ends(&self) -> [f64; 2] {
        [self.mean - self.half, self.mean + self.half]
    }
}

/// The 97.5 % quantile of Student's law with so many degrees of freedom.
///
/// Beyond the table by the expansion of Cornish and Fisher, which is right to three digits there.
pub fn student_975(freedom: usize) -> f64 {
    const TABLE: [f64; 20] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    ];
    const NORMAL: f64 = 1.959_964;
    match freedom.checked_sub(1).map(|at| TABLE.get(at)) {
        None => f64::NAN,
        Some(Some(&quantile)) => quantile,
        Some(None) => {
            let (z, freedom) = (NORMAL, freedom as f64);
            let first = (z.powi(3) + z) / 4.0;
            let second = 3.0_f64.mul_add(z, 5.0_f64.mul_add(z.powi(5), 16.0 * z.powi(3))) / 96.0;
            z + first / freedom + second / (freedom * freedom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_students() {
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(interval.mean, 3.0);
        assert!((interval.half - 2.776 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-12);
        assert!(Interval::of(&[1.0]).half.is_nan());
    }

    #[test]
    fn quantiles_beyond_the_table_are_right_to_three_digits() {
        for (freedom, quantile) in [(21, 2.0796), (25, 2.0595), (30, 2.0423), (60, 2.0003), (120, 1.9799)] {
            assert!((student_975(freedom) - quantile).abs() < 6e-4, "{freedom}: {}", student_975(freedom));
        }
    }
}
