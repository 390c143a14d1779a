//! Whether a series of measurements grows: by its slope, not by a limit. A leak of a few bytes stays below
//! every limit for as long as a test can run, and fills the machine in a month.

/// So many means of neighbours are looked at: single measurements depend on the ones before them.
const BLOCKS: usize = 12;
/// Student's t with ten degrees of freedom, one-sided: a series without a slope is beyond it once
/// in five hundred times.
const CERTAIN: f64 = 3.7;

/// The line through a series.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    /// The mean of all values.
    pub mean: f64,
    /// What the line rises by from the first to the last value.
    pub growth: f64,
    /// The slope over its standard error.
    pub certainty: f64,
}

/// The line through the means of blocks, by least squares.
pub fn trend(values: &[f64]) -> Trend {
    let length = values.len() / BLOCKS;
    assert!(length > 0, "{} values are too few", values.len());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // The newest values count; those that fill no block are the oldest.
    let newest = &values[values.len() - length * BLOCKS..];
    let blocks: Vec<f64> = newest.chunks_exact(length).map(mean).collect();
    let (middle, level) = ((BLOCKS - 1) as f64 / 2.0, mean(&blocks));
    let places = || {
        blocks
            .iter()
            .enumerate()
            .map(|(at, value)| (at as f64 - middle, value))
    };
    let width: f64 = places().map(|(at, _)| at * at).sum();
    let slope = places()
        .map(|(at, value)| at * (value - level))
        .sum::<f64>()
        / width;
    let rest: f64 = places()
        .map(|(at, value)| (value - level - slope * at).powi(2))
        .sum();
    let error = (rest / (BLOCKS - 2) as f64 / width).sqrt();
    Trend {
        mean: level,
        growth: slope * (BLOCKS - 1) as f64,
        certainty: if slope == 0.0 {
            0.0
        } else {
            slope / error.max(slope.abs() * 1e-9)
        },
    }
}

/// Whether the series grows: beyond chance, in both of its halves, and by more than `resolution` in
/// all, which is what the measurement can tell apart.
pub fn grows(values: &[f64], resolution: f64) -> bool {
    let whole = trend(values);
    let (first, second) = values.split_at(values.len() / 2);
    // What rises once, as a pool that is filled, is no leak.
    let goes_on = [first, second]
        .iter()
        .all(|half| half.len() < BLOCKS || trend(half).growth > whole.growth / 5.0);
    whole.certainty > CERTAIN && whole.growth > resolution && goes_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// Measurements around a level, with noise, a saw of the allocator, and a leak in each.
    fn series(seed: u64, count: usize, leak: f64) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..count)
            .map(|at| {
                let saw = (at % 37) as f64 / 37.0 * 2.0;
                100.0 + saw + random.random_range(-1.5..1.5) + leak * at as f64
            })
            .collect()
    }

    #[test]
    fn a_leak_is_found_and_noise_is_none() {
        for seed in 0..50 {
            // A tenth of the noise in ten measurements: no limit would see it.
            assert!(grows(&series(seed, 300, 0.02), 1.0), "leak, seed {seed}");
            assert!(!grows(&series(seed, 300, 0.0), 1.0), "noise, seed {seed}");
            assert!(
                !grows(&series(seed, 300, -0.02), 1.0),
                "shrinks, seed {seed}"
            );
        }
    }

    #[test]
    fn what_rises_once_is_no_leak() {
        let mut values = series(1, 300, 0.0);
        for value in &mut values[100..] {
            *value += 20.0;
        }
        assert!(!grows(&values, 1.0), "{:?}", trend(&values));
        assert!(!grows(&[5.0; 100], 0.0), "what stands still");
        let exact: Vec<f64> = (0..100).map(f64::from).collect();
        assert!(grows(&exact, 1.0), "a leak without noise");
    }
}
